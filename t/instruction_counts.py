# Copyright (C) nginx-cycles authors

"""What a request takes of the module, in instructions, is what it took when
bench/instructions.json was written: a slower hot path shows without a clock.

After a change that is meant to cost something, or that saves something:

    bench/instructions.py --write
"""

import json
import os
import sys

import pytest

import gateway

sys.path.insert(0, os.path.join(gateway.ROOT, 'bench'))

import instructions                                       # noqa: E402


# the same binary gives the same counts but for what a hash or a random
# number makes of them, well below one in a hundred

TOLERANCE = 0.03

# this compiler made what was counted, with the libraries of its release; others
# make other code of the same sources

COMPILER = b'GCC: (Debian 12.'
OTHER_COMPILER = 0.25

NAMES = ('json', 'sse100', 'long', 'denied', 'server')


def tolerance():
    with open(gateway.MODULE, 'rb') as file:
        module = file.read()
    same = COMPILER in module and b'clang version' not in module
    return TOLERANCE if same else OTHER_COMPILER


def test_counts():
    if 'asan' in gateway.BINARY:
        pytest.skip('not with sanitizers')

    with open(instructions.FILE) as file:
        kept = json.load(file)

    profiles = instructions.measure(NAMES)
    found = {name: instructions.counts(*profiles[name]) for name in NAMES}

    words = instructions.differences(kept, found, tolerance())
    assert not words, '\n'.join(
        words + ['if that is meant: bench/instructions.py --write'])


def test_more_is_seen():
    """Five instructions in a hundred more are too many, and so are less."""

    with open(instructions.FILE) as file:
        kept = json.load(file)

    for factor, wrong in ((1.05, True), (0.95, True), (1.01, False)):
        found = {name: dict(row, module=round(row['module'] * factor))
                 for name, row in kept.items()}
        assert bool(instructions.differences(kept, found,
                                             TOLERANCE)) == wrong
