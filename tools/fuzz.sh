#!/usr/bin/env bash
# Copyright (C) nginx-cycles authors
#
# Each t/fuzz/NAME.c for FUZZ_TIME seconds (60) with libFuzzer; seeds come
# from t/fuzz/corpus/NAME, what was found stays in build/fuzz/NAME.

. tools/common.sh

seconds=${FUZZ_TIME:-60}
shopt -s nullglob

for file in t/fuzz/*.c; do
    name=$(basename "$file" .c)
    dir=$BUILD/fuzz/$name
    seeds=()

    [ "${1:-$name}" = "$name" ] || continue

    mkdir -p "$dir" "$BUILD/log"
    [ ! -d "t/fuzz/corpus/$name" ] || seeds=("t/fuzz/corpus/$name")

    say "fuzzing $name for $seconds s"
    "$BUILD/fuzz/fuzz-$name" -max_total_time="$seconds" -timeout=10 \
        -print_final_stats=1 -artifact_prefix="$dir/crash-" \
        "$dir" "${seeds[@]}" 2> "$BUILD/log/fuzz-$name.log" \
        || { tail -n 40 "$BUILD/log/fuzz-$name.log" >&2
             die "$name: see $dir"; }
    tail -n 4 "$BUILD/log/fuzz-$name.log"
done
