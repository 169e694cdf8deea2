#!/usr/bin/env bash
# Copyright (C) nginx-cycles authors
#
# tools/promtool.sh DIR: promtool in DIR, out of Debian's package of that name,
# or, where there is none yet, of prometheus, which is not installed: it would
# start a server.

. tools/common.sh

dir=$1

if command -v promtool > /dev/null; then
    mkdir -p "$dir"
    ln -sf "$(command -v promtool)" "$dir/promtool"
    exit 0
fi

rm -rf "$dir"
mkdir -p "$dir"

# the package lists may be older than what the archive has

download() {
    local package=prometheus

    ! apt-cache show promtool 2> /dev/null | grep -q . || package=promtool
    ( cd "$dir" && apt-get -q -o Acquire::Retries=3 download $package )
}

say "getting promtool from Debian's packages"

retry "apt-get download" quiet "$BUILD/log/promtool.log" download \
    || { retry "apt-get update" quiet "$BUILD/log/apt-update.log" \
             as_root apt-get -q update \
         && quiet "$BUILD/log/promtool.log" download; } \
    || die "promtool cannot be had (see $BUILD/log/promtool.log): install" \
           "Debian's package promtool or prometheus, then run make again"

dpkg-deb --fsys-tarfile "$dir"/prom*_*.deb \
    | tar -x -C "$dir" --strip-components=3 ./usr/bin/promtool
rm -f "$dir"/prom*_*.deb
