#!/usr/bin/env bash
# What the hot port stands on: libnghttp2, from the distribution's packages. Installed where that may be done, by root on a
# Debian; elsewhere the hot port is left out, and who sets up says so.
set -uo pipefail

command -v pkg-config >/dev/null && pkg-config --exists libnghttp2 && exit 0
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
  exit 0
fi

mkdir -p build
echo "setup: installing libnghttp2-dev, for the hot port"
export DEBIAN_FRONTEND=noninteractive
packages="pkg-config libnghttp2-dev"
# shellcheck disable=SC2086 # several words
{ apt-get install -y -q --no-install-recommends $packages ||
  { apt-get update -q && apt-get install -y -q --no-install-recommends $packages; }; } >build/nghttp2.log 2>&1 ||
  echo "setup: libnghttp2-dev could not be installed, see build/nghttp2.log" >&2
exit 0
