#!/usr/bin/env bash
# Copyright (C) nginx-cycles authors
#
# tools/rust-env.sh DIR: the program of t/api/rust in DIR/sdk, built with the
# cargo in PATH if that is new enough, else with Debian's rustc-web.  Where
# neither can be had, DIR/missing says why, and its test is skipped.

. tools/common.sh

dir=$1
need=$(sed -n 's/^rust-version = "1\.\([0-9]*\)"$/\1/p' t/api/rust/Cargo.toml)


new_enough() {
    local version

    version=$("$1" --version 2> /dev/null) || return 1
    version=${version#cargo 1.}
    [ "${version%%.*}" -ge "$need" ] 2> /dev/null
}


missing() {
    say "the Rust SDK is not tested: $*"
    echo "$*" > "$dir/missing"
    exit 0
}


rm -rf "$dir"
mkdir -p "$dir"

cargo=$(command -v cargo || true)

if ! new_enough "$cargo"; then
    cargo=/usr/bin/cargo
    new_enough $cargo || [ "${SKIP_DEPS:-}" ] || tools/apt-deps.sh rust || true
    new_enough $cargo \
        || missing "there is no cargo 1.$need, nor Debian's package cargo-web"
fi

say "building the Rust SDK's program with $cargo"

export PATH=${cargo%/*}:$PATH
export CARGO_TARGET_DIR=$dir/target

retry "cargo" quiet "$BUILD/log/rust.log" "$cargo" build --locked \
    --manifest-path t/api/rust/Cargo.toml \
    || missing "the crates can't be had or built, see $BUILD/log/rust.log"

cp "$dir/target/debug/sdk" "$dir/sdk"
