#!/usr/bin/env bash
# Builds fuzz targets: tests/fuzz/build.sh FOLDER TARGET... Needs clang with libFuzzer, pkg-config and libnghttp2-dev.
#
# The transport is compiled with its clock, its waiting, its threads, its sending and its memory taken from
# in_process.c: the fuzzer runs the server's own loop, alone, and says what time it is.
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

objects() { # FOLDER [FLAG]... -- SOURCE...: compiles each source into it, all at a time
  local into=$1 flags=() source jobs=() job
  shift
  while [ "$1" != -- ]; do
    flags+=("$1")
    shift
  done
  shift
  mkdir -p "$into"
  for source in "$@"; do
    clang "${common[@]}" "${flags[@]}" -c "$source" -o "$into/${source//\//_}.o" &
    jobs+=($!)
  done
  for job in "${jobs[@]}"; do wait "$job"; done
}

rm -rf "$folder"/parts-*
transport=$folder/parts-transport
for target in "$@"; do
  parts=$folder/parts-$target
  libraries=()
  case $target in
    wire) objects "$parts" -- native/h2/{buffer,wire}.c tests/fuzz/wire.c ;;
    rls) objects "$parts" -- native/h2/{buffer,wire}.c native/rls/*.c tests/fuzz/rls.c ;;
    frames | calls | reuse)
      read -ra compile <<<"$(pkg-config --cflags libnghttp2)"
      read -ra libraries <<<"$(pkg-config --libs libnghttp2)"
      [ -d "$transport" ] || objects "$transport" "${compile[@]}" "${ours[@]}" -- native/h2/*.c
      cp -r "$transport" "$parts"
      # Under a sanitizer no call is used for another, so that it sees what holds on to one too long; in `reuse` they
      # are, as elsewhere, and what is left over in one would be seen in the next.
      [ "$target" = reuse ] && objects "$parts" "${compile[@]}" "${ours[@]}" -DMOST_SPARE=4 -- native/h2/call.c
      objects "$parts" "${compile[@]}" -- tests/fuzz/{in_process,client,"${target/reuse/calls}"}.c
      ;;
    *)
      echo "fuzz: there is no target $target: wire, rls, frames, calls and reuse are there" >&2
      exit 2
      ;;
  esac
  clang "${common[@]}" "$parts"/*.o -pthread "${libraries[@]}" -o "$folder/$target"
done
