#!/usr/bin/env bash
# Copyright (C) nginx-cycles authors
#
# Each t/fuzz/NAME.c for FUZZ_TIME seconds (60) with libFuzzer; seeds come
# from t/fuzz/corpus/NAME, what was found stays in build/fuzz/NAME.

. tools/common.sh

seconds=${FUZZ_TIME:-60}
flags=(-std=gnu99 -g -O1 "-fsanitize=fuzzer,address,undefined"
       -fno-sanitize-recover=undefined)

mapfile -t plain < <(find src -name '*.c' ! -name 'ngx_*' | sort)

shopt -s nullglob

for file in t/fuzz/*.c; do
    name=$(basename "$file" .c)
    dir=$BUILD/fuzz/$name
    seeds=()

    [ "${1:-$name}" = "$name" ] || continue

    mkdir -p "$dir"
    [ ! -d "t/fuzz/corpus/$name" ] || seeds=("t/fuzz/corpus/$name")

    clang "${flags[@]}" -Isrc -o "$BUILD/fuzz/fuzz-$name" "$file" \
        "${plain[@]}" -ljansson -lsqlite3 -lcrypto -lz -lpthread -lm

    say "fuzzing $name for $seconds s"
    "$BUILD/fuzz/fuzz-$name" -max_total_time="$seconds" -timeout=10 \
        -print_final_stats=1 -artifact_prefix="$dir/crash-" \
        "$dir" "${seeds[@]}" 2> "$BUILD/log/fuzz-$name.log" \
        || { tail -n 40 "$BUILD/log/fuzz-$name.log" >&2
             die "$name: see $dir"; }
    tail -n 4 "$BUILD/log/fuzz-$name.log"
done
