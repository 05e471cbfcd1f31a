#!/usr/bin/env bash
# Fuzzes the C of the hot port under ASan and UBSan: tools/fuzz.sh [SECONDS of each target] [TARGET...]
#
# Each target begins with what is kept in tests/fuzz/corpus/ and lets a corpus of its own grow in build/fuzz/corpus/.
# `tools/fuzz.sh keep [TARGET...]` takes from there into the kept one what reaches new code. Needs clang with libFuzzer.
set -uo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-600}
shift || true
targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
  targets=(wire frames calls reuse)
  compgen -G 'native/rls/*.c' >/dev/null && targets+=(rls)
fi
case $seconds in
  keep | [0-9]*) ;;
  *)
    echo "fuzz: $seconds is no number of seconds; tools/fuzz.sh [SECONDS | keep] [TARGET...]" >&2
    exit 2
    ;;
esac
if ! command -v clang >/dev/null || ! pkg-config --exists libnghttp2; then
  echo "fuzz: clang or libnghttp2 is missing (apt install clang libnghttp2-dev pkg-config)" >&2
  exit 2
fi
bash tests/fuzz/build.sh build/fuzz/bin "${targets[@]}" || exit 2
mkdir -p build/fuzz/found

last() { # WORD LOG: the number after its last occurrence
  grep -oE "$1 *[0-9]+" "$2" | tail -1 | grep -oE '[0-9]+$' || echo '?'
}

status=0
for target in "${targets[@]}"; do
  program=build/fuzz/bin/$target log=build/fuzz/$target.log
  kept=tests/fuzz/corpus/$target grown=build/fuzz/corpus/$target
  mkdir -p "$kept" "$grown"
  if [ "$seconds" = keep ]; then
    # By edges alone: what only runs them more often is not worth its place.
    "$program" -merge=1 -use_counters=0 "$kept" "$grown" >"$log" 2>&1 || status=1
    echo "fuzz: $target: kept $(find "$kept" -type f | wc -l) inputs, $(du -bs "$kept" | cut -f1) bytes; see $log"
    continue
  fi
  options=("-max_total_time=$seconds" -max_len=2048 -timeout=20 -print_final_stats=1
    "-artifact_prefix=build/fuzz/found/$target-")
  [ -e "tests/fuzz/$target.dict" ] && options+=("-dict=tests/fuzz/$target.dict")
  "$program" "${options[@]}" "$grown" "$kept" >"$log" 2>&1
  code=$?
  echo "fuzz: $target: $(last number_of_executed_units: "$log") runs, $(last average_exec_per_sec: "$log") a second," \
    "$(last cov: "$log") edges, $(last ft: "$log") features"
  if [ $code -ne 0 ]; then
    status=1
    found=$(grep -oE 'build/fuzz/found/[^ ]+' "$log" | tail -1)
    grep -E 'not so|ERROR:|runtime error|SUMMARY:' "$log" | tail -3 >&2
    echo "fuzz: $target failed, see $log; again: $program ${found:-(no input was written)}" >&2
    echo "fuzz: once it is mended, keep the input in $kept under a name that tells what it was" >&2
  fi
done
exit $status
