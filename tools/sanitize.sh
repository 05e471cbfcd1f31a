#!/usr/bin/env bash
# Runs the transport's tests under clang's sanitizers, one build after the other: tools/sanitize.sh [PYTEST ARGUMENT]...
# Any report ends the program that the tests talk to with a status that fails them. WAYPOST_SANITIZE is what they build with.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v clang >/dev/null; then
  echo "sanitize: there is no clang: apt install clang" >&2
  exit 1
fi

failed=()
for sanitizers in address,undefined thread; do
  echo "sanitize: $sanitizers"
  # CI: what is missing fails here, too. Its own folder, so that no other run's reports are taken for this one's.
  WAYPOST_SANITIZE=$sanitizers CI=true .venv/bin/pytest -m "not nightly" tests/integration/h2 "$@" || failed+=("$sanitizers")
done

if [ ${#failed[@]} -gt 0 ]; then
  echo "sanitize: FAILED under ${failed[*]}" >&2
  exit 1
fi
echo "sanitize: nothing found"
