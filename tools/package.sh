#!/usr/bin/env bash
# Copyright (C) nginx-cycles authors
#
# tools/package.sh DIR: the Debian package of the module, for the nginx of this
# machine, in DIR.

. tools/common.sh

dir=$1
log=$BUILD/log/package.log

rm -rf "$dir"
mkdir -p "$dir/nginx-cycles" "$BUILD/log"

say "building the package"

# the compiler is Debian's, whose other tools know what it makes

unset CC

cp -r config src debian docs conf-examples contrib ./*.md LICENSE "$dir/nginx-cycles"

( cd "$dir/nginx-cycles" && quiet "$log" dpkg-buildpackage -b -us -uc ) \
    || die "the package cannot be built, see $log"

rm -rf "$dir/nginx-cycles"

for package in "$dir"/libnginx-mod-http-cycles_*.deb; do
    echo "$package"
done
