#!/usr/bin/env bash
# Servers that only tests need and that no locked package brings: Redis, from the distribution's packages. Installed where
# that may be done, by root on a Debian; elsewhere tests say what they leave out, or fail if CI is set.
set -uo pipefail

command -v redis-server >/dev/null && exit 0
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
  echo "tests: there is no redis-server; tests that need one are left out (apt install redis-server)" >&2
  exit 0
fi

mkdir -p build
echo "tests: installing redis-server, for the tests' own private servers"
# The tests start their own. Without this the package starts one for the whole machine.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
fi
export DEBIAN_FRONTEND=noninteractive
{ apt-get install -y -q --no-install-recommends redis-server ||
  { apt-get update -q && apt-get install -y -q --no-install-recommends redis-server; }; } >build/test-servers.log 2>&1 ||
  echo "tests: redis-server could not be installed, see build/test-servers.log" >&2
exit 0
