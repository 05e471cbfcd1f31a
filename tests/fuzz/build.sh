#!/usr/bin/env bash
# Builds fuzz targets: tests/fuzz/build.sh FOLDER TARGET... Needs clang with libFuzzer, pkg-config and libnghttp2-dev.
#
# The transport is compiled with its clock, its waiting, its threads, its sending and its memory taken from in_process.c:
# the fuzzer runs the server's own loop, alone, and says what time it is.
set -euo pipefail
cd "$(dirname "$0")/../.."

folder=$1
shift
mkdir -p "$folder"
common=(-std=gnu11 -g -O1 -fno-omit-frame-pointer -Wall -Wextra -Wshadow -Werror -fsanitize=fuzzer,address,undefined
  -fno-sanitize-recover=undefined -Inative)
ours=()
for name in clock_gettime epoll_wait pthread_create pthread_join send malloc calloc realloc; do
  ours+=("-D$name=fuzz_$name")
done

objects() { # FOLDER [FLAG]... -- SOURCE...: compiles each source into it
  local into=$1 flags=()
  shift
  while [ "$1" != -- ]; do
    flags+=("$1")
    shift
  done
  shift
  for source in "$@"; do
    clang "${common[@]}" "${flags[@]}" -c "$source" -o "$into/${source//\//_}.o"
  done
}

for target in "$@"; do
  parts=$folder/parts-$target
  libraries=()
  rm -rf "$parts"
  mkdir -p "$parts"
  case $target in
    wire) objects "$parts" -- native/h2/{buffer,wire}.c tests/fuzz/wire.c ;;
    rls) objects "$parts" -- native/h2/{buffer,wire}.c native/rls/*.c tests/fuzz/rls.c ;;
    frames | calls)
      read -ra compile <<<"$(pkg-config --cflags libnghttp2)"
      read -ra libraries <<<"$(pkg-config --libs libnghttp2)"
      objects "$parts" "${compile[@]}" "${ours[@]}" -- native/h2/*.c
      objects "$parts" "${compile[@]}" -- tests/fuzz/{in_process,client,"$target"}.c
      ;;
    *)
      echo "fuzz: there is no target $target: wire, rls, frames and calls are there" >&2
      exit 2
      ;;
  esac
  clang "${common[@]}" "$parts"/*.o -pthread "${libraries[@]}" -o "$folder/$target"
done
