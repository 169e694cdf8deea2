# shellcheck shell=bash
# Copyright (C) nginx-cycles authors
#
# Shared by the set-up scripts; to be sourced by bash with the repository as
# the current directory.

set -euo pipefail

BUILD=${BUILD:-$PWD/build}

export DEBIAN_FRONTEND=noninteractive


say() {
    printf '==> %s\n' "$*" >&2
}


die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}


# retry WHAT COMMAND...: downloads fail now and then

retry() {
    local what=$1 try
    shift

    for try in 1 2 3; do
        if "$@"; then
            return 0
        fi
        say "$what failed (attempt $try of 3)"
        [ "$try" = 3 ] || sleep $((try * 3))
    done

    return 1
}


# quiet LOG COMMAND...: shows the end of the output only if it fails

quiet() {
    local log=$1
    shift

    mkdir -p "$(dirname "$log")"

    if ! "$@" > "$log" 2>&1; then
        tail -n 30 "$log" >&2
        return 1
    fi
}


# the archive that this machine installs from

archive_uri() {
    local uri

    uri=$( { cat /etc/apt/sources.list.d/*.sources 2> /dev/null || true; } \
           | awk '/^URIs:/ { print $2; exit }')

    if [ -z "$uri" ]; then
        uri=$( { cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list \
                 2> /dev/null || true; } \
               | sed -n 's/^deb *\(\[[^]]*\]\)\? *\([^ ]*\).*/\2/p' | head -1)
    fi

    [ "$uri" ] || die "no Debian archive in /etc/apt/sources.list"
    echo "$uri"
}


as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo > /dev/null; then
        sudo env DEBIAN_FRONTEND=noninteractive "$@"
    else
        die "packages are missing and only root can install them: run make as" \
            "root, or install sudo"
    fi
}
