#!/usr/bin/env bash
# Makes .venv: the locked packages and the project itself, editable. Quick when nothing changed.
#
# .venv/.complete names what is wholly installed: the packages in its first line, the project in its second. It is removed
# before packages are touched. So a run that was interrupted leaves no stamp, and the next one begins afresh instead of
# trusting half an installation.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
stamp=.venv/.complete

# Scripts in .venv/bin hold the folder's path: a moved folder needs a new one.
packages="$(pwd -P | cksum) $(cat requirements/build.txt requirements/dev.txt | cksum)"
# With the version of what the hot port stands on, so that it is built once that is there.
project() {
  echo "$(cat setup.py pyproject.toml waypost/__init__.py native/*.pyx native/*.pxd native/*.h native/*/*.[ch] | cksum)" \
    "$(pkg-config --modversion libnghttp2 2>/dev/null)"
}
wanted=$(printf '%s\n%s' "$packages" "$(project)")

fresh() { [ -x .venv/bin/python ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }

fresh && exit 0

# Two makes at once wait for each other, where flock is there. pip inherits the lock: one that outlives us has it still.
mkdir -p build
if command -v flock >/dev/null; then
  exec 9>build/setup.lock
  flock --nonblock 9 || { echo "setup: waiting for another setup to end"; flock 9; }
  if fresh; then exit 0; fi
fi

command -v "$python" >/dev/null || fail "no '$python' here: apt install python3 python3-venv, or make setup PYTHON=/path/to/python"
if [ ! -x .venv/bin/python ] || [ ! -e "$stamp" ] || [ "$(head -1 "$stamp" | cut -d' ' -f1,2)" != "$(pwd -P | cksum)" ]; then
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "$python is $("$python" -V 2>&1); Python 3.11 or newer is needed: make setup PYTHON=python3.11"
  "$python" -c 'import venv, ensurepip' 2>/dev/null ||
    fail "$python cannot make virtual environments: apt install python3-venv"
  echo "setup: making .venv with $("$python" -V)"
  "$python" -m venv --clear .venv
  have=
else
  have=$(head -1 "$stamp")
fi

pip() { .venv/bin/python -m pip --disable-pip-version-check --no-input "$@"; }

if [ "$have" != "$packages" ]; then
  rm -f "$stamp"
  echo "setup: installing requirements/dev.txt"
  pip install --quiet --require-hashes -r requirements/build.txt
  pip install --quiet --require-hashes --no-build-isolation -r requirements/dev.txt
  printf '%s\n' "$packages" >"$stamp"
fi
bash tools/nghttp2.sh
wanted=$(printf '%s\n%s' "$packages" "$(project)")
echo "setup: compiling the core and installing the project, editable"
pip install --quiet --no-deps --no-build-isolation --editable .
.venv/bin/python -c 'import native, sys; sys.exit(not native.COMPILED)' || {
  echo "setup: the compiled core is left out: limits are decided by plain Python, slower. To have it: apt install gcc python3-dev," >&2
  echo "setup: remove $stamp, then make setup again" >&2
}
.venv/bin/python -c 'import native, sys; sys.exit(not native.HOT_PORT)' || {
  echo "setup: the hot port is left out: calls go to the control ports, slower. To have it: apt install gcc python3-dev" >&2
  echo "setup: pkg-config libnghttp2-dev, then make setup again" >&2
}
printf '%s\n' "$wanted" >"$stamp"
