#!/usr/bin/env bash
# Copyright (C) nginx-cycles authors
#
# tools/build-module.sh NGINX_TREE OBJS MODULE.so
#
# Builds the module against a tree of nginx in a directory of its own and
# leaves the tree as it was.  A tree with "conf_flags" is the one of Debian's
# nginx-dev; in another tree its own file "module-flags", if it has one, holds
# one argument of configure per line.

. tools/common.sh

tree=$1
objs=$2
module=$3
root=$PWD

[ -x "$tree/configure" ] \
    || die "no nginx sources in $tree: install nginx-dev, or set NGINX_SRC"

case $root in
    *[[:space:]]*) die "nginx cannot build modules in a path with spaces:" \
                       "move $root" ;;
esac

warnings="-Wall -Wextra -Werror -Wno-unused-parameter"


configure() {
    local flags=() cc_opt="$warnings" ld_opt=""

    if [ -f "$tree/conf_flags" ]; then
        # shellcheck disable=SC1091
        . "$tree/conf_flags"
        flags=("${NGX_CONF_FLAGS[@]}")
        cc_opt="-g -O2 -fPIC -fstack-protector-strong -D_FORTIFY_SOURCE=2"
        cc_opt="$cc_opt $warnings"
        ld_opt="-Wl,-z,relro -Wl,-z,now -fPIC"
    elif [ -f "$tree/module-flags" ]; then
        mapfile -t flags < "$tree/module-flags"
    else
        flags=(--with-compat)
    fi

    if [ "${CC:-}" ]; then
        flags+=("--with-cc=$CC")
    fi

    # valgrind of Debian 12 takes nothing newer from clang

    case ${CC:-} in
        *clang*) cc_opt="$cc_opt -gdwarf-4" ;;
    esac

    ./configure --with-cc-opt="$cc_opt" --with-ld-opt="$ld_opt" \
        "${flags[@]}" --builddir="$objs" --add-dynamic-module="$root"
}


fingerprint() {
    sha256sum "$root/config" "$tree/configure"
    find "$root/src" -name '*.[ch]' | sort
    stat -c '%s %Y' "$tree/conf_flags" "$tree/module-flags" 2> /dev/null \
        || true
    echo "$tree ${CC:-}"
}


mkdir -p "$objs" "$(dirname "$module")"

if [ "$(fingerprint)" != "$(cat "$objs/fingerprint" 2> /dev/null)" ]; then
    say "configuring the module for the nginx in $tree"
    rm -f "$objs/Makefile" "$objs/fingerprint"
    ( cd "$tree" && quiet "$objs/configure.log" configure ) \
        || die "configure failed, see $objs/configure.log"
    fingerprint > "$objs/fingerprint"
fi

say "building $module"
make -C "$tree" -s -f "$objs/Makefile" -j 2 modules \
    || die "the module does not compile"

# A new file in its place: nginx may be running with the old one mapped.

if ! cmp -s "$objs/ngx_http_cycles_module.so" "$module"; then
    cp "$objs/ngx_http_cycles_module.so" "$module.new"
    mv "$module.new" "$module"
fi
