#!/usr/bin/env bash
# Copyright (C) nginx-cycles authors
#
# Roots of Debian releases, in ROOTS (build/roots); only root can make them.
#
#   tools/root.sh base SUITE            a bare system in SUITE/base, once
#   tools/root.sh fresh SUITE NAME      a copy of it in SUITE/NAME
#   tools/root.sh sources DIR           the files of this repository into DIR
#   tools/root.sh run DIR COMMAND...    in it, with the network of the caller
#
# What a command leaves running and mounted ends with it.

. tools/common.sh

roots=${ROOTS:-$BUILD/roots}

[ "$(id -u)" = 0 ] || die "only root can make roots of other releases"


# debootstrap of an older release does not know newer ones, which are made as
# sid is; what this machine says of proxies and certificates holds there, too

make_base() {
    local suite=$1 dir=$roots/$1/base script

    [ ! -f "$dir/.done" ] || return 0

    command -v debootstrap > /dev/null || tools/apt-deps.sh roots

    script=/usr/share/debootstrap/scripts/$suite
    [ -e "$script" ] || script=/usr/share/debootstrap/scripts/sid

    say "making a root of $suite"
    rm -rf "$dir"
    mkdir -p "$dir"
    retry "debootstrap" quiet "$BUILD/log/root-$suite.log" \
        debootstrap --variant=minbase "$suite" "$dir" "$(archive_uri)" \
            "$script" || die "$suite cannot be had from the archive, see" \
                             "$BUILD/log/root-$suite.log"

    apt-config dump Acquire > "$dir/etc/apt/apt.conf.d/90host"
    echo 'Acquire::Retries "3";' >> "$dir/etc/apt/apt.conf.d/90host"
    echo force-unsafe-io > "$dir/etc/dpkg/dpkg.cfg.d/90root"
    mkdir -p "$dir/usr/local/share/ca-certificates"
    cp -r /usr/local/share/ca-certificates "$dir/usr/local/share/"
    touch "$dir/.done"
}


make_fresh() {
    make_base "$1"
    rm -rf "${roots:?}/$1/${2:?}"
    cp -a "$roots/$1/base" "$roots/$1/$2"
    cp -L /etc/resolv.conf "$roots/$1/$2/etc/resolv.conf"
}


# what git has and what it would take, so that an unfinished change is tested

copy_sources() {
    mkdir -p "$1"
    git ls-files -z --cached --others --exclude-standard \
        | while IFS= read -r -d '' file; do
              [ ! -e "$file" ] || printf '%s\0' "$file"
          done \
        | tar --null -T - -cf - | tar -C "$1" -xf -
}


enter() {
    local dir=$1
    shift

    [ -x "$dir/bin/sh" ] || die "$dir is no root"

    # shellcheck disable=SC2016
    exec unshare -m -p -f --kill-child --propagation private sh -c '
        set -e
        dir=$1
        shift
        mount -t proc proc "$dir/proc"
        mount --rbind /dev "$dir/dev"
        mount --rbind /sys "$dir/sys"
        exec chroot "$dir" /usr/bin/env -i HOME=/root LC_ALL=C.UTF-8 \
            PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"
    ' root "$dir" DEBIAN_FRONTEND=noninteractive "$@"
}


command=${1:-}
[ $# -lt 2 ] || shift

case $command in
    base)     make_base "$1" ;;
    fresh)    make_fresh "$1" "$2" ;;
    sources)  copy_sources "$1" ;;
    run)      enter "$@" ;;
    *)        die "root.sh knows base, fresh, sources and run" ;;
esac
