#!/usr/bin/env bash
# Copyright (C) nginx-cycles authors
#
# tools/build-nginx-asan.sh DIR: builds nginx 1.26 (the upstream tarball of
# trixie's source package; bookworm's 1.22 if the archive lacks it) with
# AddressSanitizer and UBSan; the sources stay in DIR/src for the module, the
# binary is DIR/nginx.

. tools/common.sh

dir=$1
series=(trixie bookworm)

mkdir -p "$dir"
dir=$(cd "$dir" && pwd)

# pointer-overflow, alignment, nonnull-attribute: nginx's own idioms trip them

sanitize="-g -O1 -fno-omit-frame-pointer -fsanitize=address,undefined"
sanitize="$sanitize -fno-sanitize=nonnull-attribute,alignment,pointer-overflow"

flags=(
    --with-compat --with-debug --with-threads --with-pcre-jit
    --with-http_ssl_module --with-http_v2_module
    --with-http_auth_request_module --with-http_gunzip_module
    --with-http_realip_module --with-http_slice_module
    --with-http_stub_status_module --with-http_sub_module
    --with-http_addition_module
    "--with-cc-opt=$sanitize -DNGX_DEBUG_PALLOC=1 -DNGX_DEBUG_MALLOC=1"
    "--with-ld-opt=-fsanitize=address,undefined"
)


# An apt of our own in DIR/apt: nothing in /etc/apt changes.

write_apt_root() {
    local apt=$dir/apt uri

    uri=$(archive_uri)

    mkdir -p "$apt"/{state/lists/partial,cache/archives/partial}
    mkdir -p "$apt"/etc/{sources.list.d,preferences.d}

    local key=/usr/share/keyrings/debian-archive-keyring.gpg
    echo "deb-src [signed-by=$key] $uri $1 main" > "$apt/etc/sources.list"

    cat > "$apt/apt.conf" << END
Dir::Etc::sourcelist "$apt/etc/sources.list";
Dir::Etc::sourceparts "$apt/etc/sources.list.d";
Dir::Etc::preferencesparts "$apt/etc/preferences.d";
Dir::State::lists "$apt/state/lists";
Dir::Cache "$apt/cache";
APT::Sandbox::User "";
Acquire::Retries "3";
END
}


apt_here() {
    APT_CONFIG=$dir/apt/apt.conf apt-get -q -o Dpkg::Use-Pty=0 "$@"
}


# The tarball alone, its checksum taken from the signed index: a mirror may
# not have Debian's part yet when an update of the package is new.

get_tarball() {
    write_apt_root "$1"
    rm -rf "$dir/src" "$dir/unpacked" "$dir"/nginx_*
    mkdir "$dir/unpacked"
    apt_here update \
        && ( cd "$dir" && apt_here source --tar-only nginx ) \
        && tar -xf "$dir"/nginx_*.orig.tar.gz -C "$dir/unpacked" \
               --strip-components=1 \
        && mv "$dir/unpacked" "$dir/src"
}


get_sources() {
    local one

    for one in "${series[@]}"; do
        get_tarball "$one" && return
    done

    return 1
}


build() {
    cd "$dir/src"
    ./configure --prefix="$dir/prefix" --builddir="$dir/objs" "${flags[@]}"
    make -f "$dir/objs/Makefile" -j 2 binary
}


if [ ! -f "$dir/src/configure" ]; then
    say "getting the nginx sources of Debian ${series[0]}"
    retry "the download" quiet "$BUILD/log/nginx-source.log" get_sources \
        || die "the archive has no nginx sources of ${series[*]}" \
               "(see $BUILD/log/nginx-source.log): check the" \
               "network, then run make again"
fi

say "building nginx with sanitizers (about two minutes)"
quiet "$BUILD/log/nginx-asan.log" build \
    || die "nginx with sanitizers does not build, see" \
           "$BUILD/log/nginx-asan.log"

printf '%s\n' "${flags[@]}" > "$dir/src/module-flags"
cp "$dir/objs/nginx" "$dir/nginx"
