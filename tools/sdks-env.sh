#!/usr/bin/env bash
# Copyright (C) nginx-cycles authors
#
# tools/sdks-env.sh DIR NODE: the npm packages of tools/sdks, by the npm of
# NODE, which is a directory that tools/node-env.sh has made.  They are apart
# from those of tools/node, which the demo uses too.

. tools/common.sh

dir=$1
export PATH=$2/bin:$PATH

say "getting npm packages (the SDKs of LLM providers)"

rm -rf "$dir"
mkdir -p "$dir"
cp tools/sdks/package.json "$dir/"

retry "npm" quiet "$BUILD/log/npm-sdks.log" \
    npm install --prefix "$dir" --no-fund --no-audit --no-package-lock \
    --ignore-scripts \
    || die "npm packages cannot be had (see $BUILD/log/npm-sdks.log): check" \
           "the network or npm's configuration, then run make again"
