# Copyright (C) nginx-cycles authors

"""The tables of docs/denials.md are what t/e2e/test_sdks_*.py test, of the
versions that are installed."""

import json
import os
import re

import pytest

import sdk_table
from gateway import ROOT


def read(*path):
    with open(os.path.join(ROOT, *path)) as file:
        return file.read()


def python_versions():
    return dict(re.findall(r'^(\S+) == (\S+)$',
                           read('tools', 'requirements.txt'), re.M))


def node_versions():
    return json.loads(read('tools', 'sdks', 'package.json'))['dependencies']


def line(row, version):
    requests = str(row.denied[1])
    if row.streams_stop:
        requests += ', 1 for a stream'

    return '| ' + ' | '.join((
        '`%s`%s' % ('`, `'.join(part for part in row.name.split(', ')
                                if part != row.note),
                    ', ' + row.note if row.note else ''),
        version, '`%s`' % row.denied[0], requests, '`%s` %d' % row.auto,
        str(row.held), '`%s`' % row.down[0], str(row.down[1]),
        '`%s`' % row.bad, '`%s`' % row.cut if row.cut else '–')) + ' |'


@pytest.mark.parametrize('title, rows, versions', [
    ('### Python', sdk_table.PYTHON, python_versions()),
    ('### Node', sdk_table.NODE, node_versions())])
def test_table(title, rows, versions):
    text = read('docs', 'denials.md').split(title + '\n')[1]
    shown = text.strip().split('\n\n')[0].split('\n')[2:]
    assert shown == [line(row, versions[row.package]) for row in rows]
