#!/usr/bin/env bash
# Programs that only tests need and that no locked package brings, from the distribution's packages: Redis, clang with its
# sanitizers and libFuzzer, h2load. Installed where that may be done, by root on a Debian; elsewhere tests say what they
# leave out, or fail if CI is set.
set -uo pipefail

missing=()
command -v redis-server >/dev/null || missing+=(redis-server)
command -v clang >/dev/null || missing+=(clang)
command -v h2load >/dev/null || missing+=(nghttp2-client)
[ "${#missing[@]}" -eq 0 ] && exit 0
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
  echo "tests: there is no ${missing[*]}; tests that need them are left out (apt install ${missing[*]})" >&2
  exit 0
fi
# The runtime of clang's sanitizers is a package of its own, named after its version.
case " ${missing[*]} " in *" clang "*) missing+=(libclang-rt-dev) ;; esac

mkdir -p build
echo "tests: installing ${missing[*]}, for the tests' own private use"
# The tests start their own Redis. Without this the package starts one for the whole machine.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
fi
export DEBIAN_FRONTEND=noninteractive
{ apt-get install -y -q --no-install-recommends "${missing[@]}" ||
  { apt-get update -q && apt-get install -y -q --no-install-recommends "${missing[@]}"; }; } >build/test-servers.log 2>&1 ||
  echo "tests: ${missing[*]} could not be installed, see build/test-servers.log" >&2
exit 0
