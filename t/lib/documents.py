# Copyright (C) nginx-cycles authors

"""The documents and their blocks.

Each fenced block has a comment before it: <!-- test: HOW --> names what tests
it, <!-- fragment: WHY --> says why nothing can."""

import glob
import os
import re

from gateway import ROOT


DOCS = sorted(glob.glob(ROOT + '/*.md') + glob.glob(ROOT + '/docs/*.md'))


def read(path):
    with open(path) as file:
        return file.read()


def name_of(path):
    return os.path.relpath(path, ROOT)


def blocks():
    """(file and line, language, "test" or "fragment" or None, what the
    comment says, text) of each."""

    found = []
    for path in DOCS:
        text = read(path)
        for match in re.finditer(
                r'(?:<!-- (test|fragment): (.*?) -->\n)?^```(\w*)\n(.*?)^```$',
                text, re.M | re.S):
            line = text.count('\n', 0, match.start(3)) + 1
            found.append(('%s:%d' % (name_of(path), line), match.group(3),
                          match.group(1), match.group(2), match.group(4)))
    return found


BLOCKS = blocks()


def blocks_for(how, kind='sh'):
    """[(file and line, text)] of the blocks that are tested so."""

    return [(where, text) for where, language, mark, words, text in BLOCKS
            if language == kind and mark == 'test' and words == how]
