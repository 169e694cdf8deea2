#!/usr/bin/env bash
# Copyright (C) nginx-cycles authors
#
# tools/package-test.sh SUITE...: in a root of each of these releases, builds
# the package against the nginx that is there, and then does what README.md
# says in a bare root.

. tools/common.sh

roots=${ROOTS:-$BUILD/roots}

needs=(nginx nginx-dev build-essential debhelper libjansson-dev
       libsqlite3-dev libssl-dev zlib1g-dev)


# A root that builds stays, a root that is installed into is new each time.
# The server of the nginx package is not to start where the network is that of
# this machine.

build_root() {
    local dir=$roots/$1/build

    [ ! -f "$dir/.built" ] || return 0

    tools/root.sh fresh "$1" build
    printf '#!/bin/sh\nexit 101\n' > "$dir/usr/sbin/policy-rc.d"
    chmod 755 "$dir/usr/sbin/policy-rc.d"

    say "$1: installing what builds the package"
    in_root "$dir" "apt-get -q update && apt-get -q -y install \
        --no-install-recommends ${needs[*]}"
    touch "$dir/.built"
}


in_root() {
    local dir=$1
    shift

    quiet "$BUILD/log/package-root.log" \
        tools/root.sh run "$dir" bash -e -c "$*"
}


test_suite() {
    local suite=$1 dir=$roots/$1 deb

    build_root "$suite"

    rm -rf "$dir/build/src"
    tools/root.sh sources "$dir/build/src"
    in_root "$dir/build" "cd /src && SKIP_DEPS=1 make package"

    deb=$(echo "$dir"/build/src/build/package/libnginx-mod-http-cycles_*.deb)
    abi=$(sed -n 's/^nginx:abi=//p' \
          "$dir/build/usr/share/nginx/src/debian/libnginx-mod.abisubstvars")

    say "$suite: $(tools/root.sh run "$dir/build" nginx -v 2>&1), $abi"
    python3 t/package/contents.py "$deb" "$abi"

    say "$suite: a newcomer"
    tools/root.sh fresh "$suite" clean
    cp "$deb" "$dir/clean/tmp/"
    in_root "$dir/clean" "apt-get -q update && apt-get -q -y install \
        --download-only /tmp/*.deb nginx curl ca-certificates"
    rm "$dir"/clean/tmp/*.deb

    unshare -n python3 t/package/newcomer.py "$dir/clean" "$deb"
    rm -rf "$dir/clean"
}


# docker/Dockerfile, step by step

test_image() {
    say "the image"
    python3 t/package/image.py build "$roots"
    unshare -n python3 t/package/image.py run "$roots"
    rm -rf "$roots"/*/image[0-9]
}


command -v debootstrap > /dev/null || tools/apt-deps.sh roots

for suite in "$@"; do
    test_suite "$suite"
done

test_image

say "the package is right in: $*, and so is the image"
