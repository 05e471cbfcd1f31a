#!/usr/bin/env bash
# Compiles requirements/*.in to *.txt: one file for every platform, each version pinned, each file hashed.
# Versions that still fit are kept; --upgrade takes the newest.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=build/lock-venv

if ! [ "$(cat "$venv/.complete" 2>/dev/null)" = "$(cksum <requirements/lock.txt)" ]; then
  "${PYTHON:-python3}" -m venv --clear "$venv"
  "$venv/bin/python" -m pip --disable-pip-version-check --no-input install --quiet --require-hashes -r requirements/lock.txt
  cksum <requirements/lock.txt >"$venv/.complete"
fi

compile() {
  "$venv/bin/uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes \
    --custom-compile-command 'make lock' "requirements/$1.in" --output-file "requirements/$1.txt" "${@:2}"
}
compile lock "$@"
compile build "$@"
compile run "$@"
compile dev "$@"

# Else tests would not test what is shipped.
pins() { for name in "$@"; do grep -oE '^[a-z0-9.-]+==[^ ]+' "requirements/$name.txt"; done | sort -u; }
differing=$(comm -23 <(pins build run) <(pins dev))
if [ -n "$differing" ]; then
  printf 'lock: dev.txt does not have the versions of build.txt and run.txt:\n%s\n' "$differing" >&2
  exit 1
fi
