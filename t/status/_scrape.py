# Copyright (C) nginx-cycles authors

"""What a scrape says, and what Prometheus' own tool says of it."""

import os
import re
import subprocess

import gateway


BUILD = os.environ.get('BUILD', os.path.join(gateway.ROOT, 'build'))
PROMTOOL = os.path.join(BUILD, 'promtool', 'promtool')

LINE = re.compile(r'^([a-z_]+)(?:\{(.*)\})? (\S+)$')
LABEL = re.compile(r'([a-z_0-9]+)="((?:[^"\\]|\\.)*)"')


def scrape(ng):
    r = gateway.request(ng.status_port, path='/?format=prometheus')
    assert r.status == 200
    assert r.header('content-type') == \
        'text/plain; version=0.0.4; charset=utf-8'
    assert r.header('cache-control') == 'no-store'
    return r.text


# a newer promtool compares all of the series of a metric with each other

PROMTOOL_TIMEOUT = 15 * gateway.TIMEOUT


def promtool(*args, text=''):
    done = subprocess.run([PROMTOOL, *args], input=text.encode(),
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=PROMTOOL_TIMEOUT)
    return done.returncode, done.stdout.decode()


def check(text):
    """promtool has nothing to say."""

    assert promtool('check', 'metrics', text=text) == (0, '')


def samples(text):
    """[(name, {label: value}, number)], labels unescaped."""

    found = []
    for line in text.splitlines():
        if line.startswith('#'):
            continue
        name, labels, value = LINE.match(line).groups()
        found.append((name, {key: unescape(text) for key, text
                             in LABEL.findall(labels or '')}, float(value)))
    return found


def unescape(text):
    return re.sub(r'\\(.)', lambda m: {'n': '\n'}.get(m[1], m[1]), text)


def families(text):
    """{name: type}, each with a HELP, none of them twice."""

    helps = re.findall(r'^# HELP (\S+) \S', text, re.M)
    types = re.findall(r'^# TYPE (\S+) (\S+)$', text, re.M)
    assert [name for name, _ in types] == helps
    assert len(set(helps)) == len(helps)
    return dict(types)


def sum_of(text, name, **labels):
    return sum(value for found, has, value in samples(text)
               if found == name and labels.items() <= has.items())


def documented():
    """The rows of the table in docs/status.md: {name: (type, labels)}; that
    they are those of the code is for test_metrics.py."""

    with open(os.path.join(gateway.ROOT, 'docs', 'status.md')) as file:
        rows = re.findall(r'^\| `(cycles_\w+)` \| (\w+) \|([^|]*)\|',
                          file.read(), re.M)
    return {name: (kind, sorted(re.findall(r'`(\w+)`', labels)))
            for name, kind, labels in rows}
