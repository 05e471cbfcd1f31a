#!/usr/bin/env bash
# Holds the hot port to what others think HTTP/2 and gRPC are: h2spec's generic cases, and real clients in Node and Go.
# Tools are fetched by their ordinary means at the versions that are pinned here and beside the clients, into
# build/conformance; a part whose tools are missing fails, and says what it needs. Ends with 1 if any part failed.
set -uo pipefail
cd "$(dirname "$0")/.."
python=$PWD/.venv/bin/python
work=$PWD/build/conformance

pids=()
failed=()
say() { printf 'conformance: %s\n' "$*"; }
fail() { say "$*" >&2; failed+=("$1"); } # PART WHAT
stop() { for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null && wait "$pid" 2>/dev/null; done; }
trap stop EXIT

# The address of the hot port of a Python program, which runs on with its log in build/conformance/NAME.log.
hot_address=
start() { # NAME PROGRAM [ARGUMENT...]
  local name=$1 log=$work/$1.log
  shift
  "$@" 2>"$log" &
  pids+=($!)
  for _ in $(seq 300); do
    hot_address=$("$python" - "$log" <<'EOF'
import json, sys
lines = [json.loads(line) for line in open(sys.argv[1]) if line.startswith("{") and line.endswith("}\n")]
print(next((line["hot"] for line in lines if line["event"] == "serving"), ""))
EOF
    )
    [ -n "$hot_address" ] && return
    kill -0 "${pids[-1]}" 2>/dev/null || break
    sleep 0.1
  done
  say "$name does not serve on a hot port: $(tail -3 "$log")" >&2
  exit 1
}

mkdir -p "$work/limits"
cat >"$work/limits/conformance.yaml" <<'EOF'
domain: conformance
descriptors:
  - key: address
    rate_limit: {unit: year, requests_per_unit: 3}
EOF
free=(WAYPOST_RATELIMITER_CONTROL_PORT=0 WAYPOST_RATELIMITER_METRICS_PORT=0 WAYPOST_RATELIMITER_HOT_PORT=0)
start limiter env "${free[@]}" "WAYPOST_LIMITS_DIR=$work/limits" "$python" -m ratelimiter
limiter=$hot_address
start echo "$python" -m tests.support.echo_server
echo=$hot_address
"$python" -m tests.support.protoset "$work/set.pb" || exit 1

# A Go program of a folder of tests/conformance, as its go.sum pins it.
built() { # PART PACKAGE
  command -v go >/dev/null || { fail "$1" "needs Go to be built with: https://go.dev/doc/install"; return 1; }
  (cd "tests/conformance/$1" && GOWORK=off GOFLAGS= CGO_ENABLED=0 go build -mod=readonly -trimpath -o "$work/$1-client" "$2") ||
    { fail "$1" "cannot be built in tests/conformance/$1"; return 1; }
}

h2spec_part() {
  built h2spec github.com/summerwind/h2spec/cmd/h2spec || return
  "$work/h2spec-client" generic -o 5 -h "${limiter%:*}" -p "${limiter##*:}" --path /waypost.api.v1.RateLimitService/Check \
    >"$work/h2spec.log" 2>&1
  # Its last line but one counts; failures are told once more after the word, with their sections.
  local counted found
  counted=$(grep -E '^[0-9]+ tests, ' "$work/h2spec.log") || { fail h2spec "came to no end, see $work/h2spec.log"; return; }
  say "h2spec: $counted"
  found=$(awk '/^Failures:/ {told = 1} told && /^  [0-9]+\. / {sub(/^ +/, ""); section = $0}
    told && /^ +× / {sub(/^ +× /, ""); print section " / " $0}' "$work/h2spec.log")
  [[ $counted == *" 0 skipped, 0 failed"* ]] || fail h2spec "is not served as it should be, see $work/h2spec.log: $found"
}

go_part() {
  built go . || return
  "$work/go-client" "$limiter" "$echo" || fail go "is not served as it should be"
}

node_part() {
  command -v npm >/dev/null || { fail node "is missing, or npm is: apt install nodejs npm"; return; }
  mkdir -p "$work/node"
  cp tests/e2e/clients/node/package.json tests/e2e/clients/node/package-lock.json tests/conformance/node/client.js "$work/node/"
  (cd "$work/node" && npm ci --ignore-scripts --no-audit --no-fund --silent) ||
    { fail node "cannot fetch what tests/e2e/clients/node/package-lock.json pins"; return; }
  (cd "$work/node" && no_proxy='*' node client.js "$work/set.pb" "$limiter" "$echo") ||
    fail node "is not served as it should be"
}

h2spec_part
node_part
go_part
[ "${#failed[@]}" -eq 0 ] || { say "failed: ${failed[*]}" >&2; exit 1; }
say "all as it should be"
