#!/usr/bin/env bash
# Copyright (C) nginx-cycles authors
#
# tools/matrix.sh SUITE...: the tests, but for those with sanitizers, in a root
# of each of these releases, with its nginx, and with each compiler of CCS.
# TESTS are some of them.

. tools/common.sh

roots=${ROOTS:-$BUILD/roots}


# the certificates of the root are those of this machine, too: each client has
# its own way to be told

certificates=/etc/ssl/certs/ca-certificates.crt

in_root() {
    tools/root.sh run "$roots/$1/test" NODE_EXTRA_CA_CERTS=$certificates \
        PIP_CERT=$certificates CARGO_HTTP_CAINFO=$certificates \
        "TEST_TIMEOUT_SCALE=${TEST_TIMEOUT_SCALE:-}" \
        "TEST_LIMIT=${TEST_LIMIT:-}" \
        bash -e -c "cd /src; $2"
}


# The root gets these sources.  What has changed is newer than what was made
# of it, and the rest no newer than it was.

renew() {
    local dir=$1 file

    mkdir -p "$dir/src"
    rm -rf "$dir/new"
    tools/root.sh sources "$dir/new"

    ( cd "$dir/new"
      find . -type f -print0 | while IFS= read -r -d '' file; do
          if cmp -s "$file" "$dir/src/$file"; then
              touch -r "$dir/src/$file" "$file"
          else
              touch "$file"
          fi
      done )

    find "$dir/src" -mindepth 1 -maxdepth 1 ! -name build -exec rm -r {} +
    ( cd "$dir/new" && tar -cf - . ) | tar -C "$dir/src" -xf -
    rm -rf "$dir/new"
}


test_suite() {
    local suite=$1 dir=$roots/$1/test cc

    [ -d "$dir" ] || tools/root.sh fresh "$suite" test

    # an interrupted run leaves pipes of make, whose names come again

    find "$dir/tmp" -mindepth 1 -delete

    renew "$dir"
    in_root "$suite" "command -v make > /dev/null \
        || { apt-get -q update && apt-get -q -y install make; } > /dev/null"

    for cc in ${CCS:-gcc clang}; do
        in_root "$suite" "tools/apt-deps.sh build test"
        say "$suite: $(in_root "$suite" "nginx -v 2>&1; $cc --version" \
                       | head -n 2 | tr '\n' ' ')"
        in_root "$suite" "make test-plain CC=$cc ${JOBS:+JOBS=$JOBS} \
            ${TESTS:+TESTS=\"$TESTS\"}"
    done
}


command -v debootstrap > /dev/null || tools/apt-deps.sh roots

for suite in "$@"; do
    test_suite "$suite"
done

say "the tests pass in: $*"
