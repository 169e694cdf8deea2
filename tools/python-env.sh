#!/usr/bin/env bash
# Copyright (C) nginx-cycles authors
#
# tools/python-env.sh DIR [FILE]: a Python environment with what FILE requires,
# which is tools/requirements.txt unless it is given.

. tools/common.sh

dir=$1
file=${2:-tools/requirements.txt}
python=/usr/bin/python3
[ -x $python ] || python=$(command -v python3)

say "making the Python environment $dir"

rm -rf "$dir"
quiet "$BUILD/log/venv.log" "$python" -m venv "$dir" \
    || die "python3 cannot make an environment: install python3-venv"

retry "pip" quiet "$BUILD/log/pip.log" "$dir/bin/python" -m pip install \
    --disable-pip-version-check -r "$file" \
    || die "Python packages cannot be had (see $BUILD/log/pip.log): check" \
           "the network or pip's configuration, then run make again"
