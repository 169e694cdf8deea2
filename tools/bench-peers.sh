#!/usr/bin/env bash
# Copyright (C) nginx-cycles authors
#
# tools/bench-peers.sh litellm|portkey: a peer of the benchmark from its
# registry, into build/peer-litellm or build/peer-portkey; once it is there,
# nothing.  (build/litellm is another release, which the tests of prices use.)

. tools/common.sh

case $1 in
    litellm)
        target=$BUILD/peer-litellm
        if [ ! -e "$target/.done" ]; then
            say "installing LiteLLM's proxy"
            python3 -m venv "$target"
            retry "pip" quiet "$BUILD/log/litellm.log" \
                "$target/bin/pip" install --disable-pip-version-check \
                'litellm[proxy]==1.80.0'
        fi
        ;;
    portkey)
        target=$BUILD/peer-portkey
        if [ ! -e "$target/.done" ]; then
            say "installing Portkey's gateway"
            mkdir -p "$target"
            PATH=$BUILD/node/bin:$PATH \
                retry "npm" quiet "$BUILD/log/portkey.log" \
                npm install --prefix "$target" --no-audit --no-fund \
                @portkey-ai/gateway@1.15.2
        fi
        ;;
    *)
        die "no peer \"$1\""
        ;;
esac

touch "$target/.done"
