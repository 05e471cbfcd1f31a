#!/usr/bin/env bash
# Runs tools/tests.sh with coverage of every process that the tests start; leaves coverage/{report.txt,coverage.xml,html/}.
# Ends with pytest's status; with 2 if the tests pass but less is covered than [tool.coverage.report] fail_under.
set -uo pipefail
cd "$(dirname "$0")/.."
bin=$PWD/.venv/bin
export COVERAGE_FILE=$PWD/build/coverage/data

rm -rf build/coverage coverage
mkdir -p build/coverage coverage
COVERED=1 bash tools/tests.sh "$@"
tests=$?
[ "$tests" -ge 2 ] && exit "$tests" # interrupted, or nothing ran: no figure would mean anything

"$bin/coverage" combine --quiet || exit 2
"$bin/coverage" html --quiet --fail-under=0 -d coverage/html
"$bin/coverage" xml --quiet --fail-under=0 -o coverage/coverage.xml
"$bin/coverage" report >coverage/report.txt
floor=$?
echo "coverage: $(awk '/^TOTAL/ {print $NF}' coverage/report.txt) of lines and branches; see coverage/html/index.html"
[ "$floor" -eq 2 ] && echo "coverage: that is below the floor in pyproject.toml" >&2
[ "$tests" -ne 0 ] && exit "$tests"
exit "$floor"
