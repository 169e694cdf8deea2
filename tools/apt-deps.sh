#!/usr/bin/env bash
# Copyright (C) nginx-cycles authors
#
# tools/apt-deps.sh GROUP...: installs the Debian packages of these groups
# that are not there yet.

. tools/common.sh

packages_of() {
    case $1 in
        build) echo gcc make libc6-dev nginx nginx-dev libjansson-dev \
                    libsqlite3-dev libssl-dev zlib1g-dev ;;
        demo)  echo python3 python3-venv ca-certificates ;;
        test)  echo build-essential clang debhelper perl python3 \
                    python3-venv curl jq wrk ca-certificates dpkg-dev \
                    libpcre2-dev pkg-config procps sqlite3 systemd tzdata \
                    util-linux chromium valgrind ;;
        rust)  if apt-cache madison cargo-web 2> /dev/null | grep -q .; then
                   echo cargo-web rustc-web
               else
                   echo cargo rustc
               fi ;;
        bench) echo python3 util-linux ;;
        peers) echo haproxy redis-server lua-cjson libnginx-mod-http-lua \
                    libnginx-mod-http-js python3-venv ca-certificates ;;
        fuzz)  echo clang libclang-rt-dev ;;
        package)
               echo build-essential debhelper ;;
        roots) echo debootstrap iproute2 ;;
        lint)  echo clang shellcheck python3 ;;
        *)     die "no package group \"$1\"" ;;
    esac
}


installed() {
    dpkg-query -W -f '${db:Status-Abbrev}\n' "$1" 2> /dev/null \
        | grep -q '^.i'
}


apt_get() {
    as_root apt-get -q -y -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 \
        -o Acquire::Retries=3 "$@"
}


# The nginx package starts a server on port 80 unless policy-rc.d says no;
# ours is there only as long as the installation runs.

policy=/usr/sbin/policy-rc.d

forbid_starts() {
    if [ ! -e $policy ]; then
        printf '#!/bin/sh\nexit 101\n' | as_root tee $policy > /dev/null
        as_root chmod 755 $policy
        trap 'as_root rm -f $policy' EXIT
    fi
}


missing=()

for group in "$@"; do
    for package in $(packages_of "$group"); do
        if ! command -v dpkg-query > /dev/null; then
            die "this set-up knows Debian only: install $(packages_of "$group")" \
                "by hand and run make with SKIP_DEPS=1"
        fi
        installed "$package" || missing+=("$package")
    done
done

if [ ${#missing[@]} = 0 ]; then
    exit 0
fi

say "installing Debian packages: ${missing[*]}"

forbid_starts

retry "apt-get update" quiet "$BUILD/log/apt-update.log" apt_get update \
    || die "the package lists cannot be had: check the network and" \
           "/etc/apt/sources.list, then run make again"

retry "apt-get install" quiet "$BUILD/log/apt-install.log" \
    apt_get install --no-install-recommends "${missing[@]}" \
    || die "a package cannot be installed (see $BUILD/log/apt-install.log):" \
           "install ${missing[*]} by hand, then run make again"
