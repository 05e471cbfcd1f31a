#!/usr/bin/env bash
# Runs the tests but the nightly ones: first those that measure how soon something happens and need the machine to
# themselves (marked `alone`), one after the other; then all others, several at a time as PARALLEL says.
#   PARALLEL="-n 2 --dist loadfile" tools/tests.sh [pytest's arguments]      COVERED=1: each under coverage
# Ends with 0 if both went well, else with the status of the one that did not.
set -uo pipefail
cd "$(dirname "$0")/.."
run=(.venv/bin/pytest)
[ -n "${COVERED:-}" ] && run=(.venv/bin/coverage run -m pytest)

"${run[@]}" -m "alone and not nightly" "$@"
alone=$?
[ "$alone" -eq 5 ] && alone=0 # none of them was asked for
[ "$alone" -ge 2 ] && exit "$alone"

# shellcheck disable=SC2086 # several words
"${run[@]}" -m "not alone and not nightly" ${PARALLEL:-} "$@"
others=$?
[ "$others" -ne 0 ] && exit "$others"
exit "$alone"
