# Copyright (C) nginx-cycles authors

"""The official Rust crate, as crates.io has it, against the API: a program
that uses it (t/api/rust), and a proxy that checks each answer."""

import json
import os
import subprocess

import pytest

import gateway
from _api import KEYS, Api, conf
from _proxy import Proxy


BUILD = os.path.join(gateway.ROOT, 'build', 'rust')


@pytest.fixture(scope='module', autouse=True)
def program():
    """Built by tools/rust-env.sh; where that was not possible, it says why."""

    path = os.path.join(BUILD, 'missing')
    if os.path.exists(path):
        with open(path) as file:
            pytest.skip(file.read().strip())


@pytest.fixture
def api(nginx):
    return Api(nginx(**conf(('tenant:acme', 1000), (
        'tenant:acme/app:capped', 100,
        {'caps': {'above_percent': 0, 'max_tokens': 7}}))))


def run(api, scenario):
    with Proxy(api) as proxy:
        process = subprocess.run(
            [os.path.join(BUILD, 'sdk'), scenario, proxy.url, KEYS['acme']],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            timeout=3 * gateway.TIMEOUT)
        assert process.returncode == 0, process.stderr
        return json.loads(process.stdout), proxy


def sums(api):
    flat = api.balance('tenant:acme')
    return flat['spent'], flat['reserved']


def test_life(api):
    told, _ = run(api, 'life')
    assert 0 < told.pop('remaining_ttl_ms') <= 60000
    assert told == {
        'decision': 'ALLOW', 'extended_by': 1000, 'live': 'ACTIVE',
        'charged': 60, 'returned': 40, 'done': 'COMMITTED', 'committed': 60,
        'released': 50, 'decided': ['DENY', 'BUDGET_EXCEEDED'],
        'applied': 'APPLIED', 'dry': ['DENY', 'BUDGET_EXCEEDED'],
        'dry_id': None, 'remaining': 900, 'listed': 'RELEASED',
        'more': False}
    assert sums(api) == (100, 0)


def test_errors(api):
    told, _ = run(api, 'errors')

    denied = told.pop('denied')
    assert denied['kind'] == 'BudgetExceeded'
    assert denied['has_request_id'] and not denied['retryable']
    assert 'tenant:acme' in denied['text']

    want = {'missing': (404, 'NOT_FOUND'), 'unit': (400, 'UNIT_MISMATCH'),
            'mismatch': (409, 'IDEMPOTENCY_MISMATCH'),
            'finalized': (409, 'RESERVATION_FINALIZED'),
            'expired': (410, 'RESERVATION_EXPIRED'),
            'unauthorized': (401, 'UNAUTHORIZED')}
    assert {k: (v['status'], v['code']) for k, v in told.items()} == want
    assert all(v['kind'] == 'Api' and v['has_request_id']
               and not v['retryable'] for v in told.values())
    gateway.wait_until(lambda: sums(api) == (0, 0))


def test_guards(api):
    told, proxy = run(api, 'guards')
    assert told.pop('failed')['kind'] == 'other'
    assert told == {
        'scopes': ['tenant:acme', 'tenant:acme/app:chat'], 'charged': 70,
        'released': 100, 'value': 2, 'max_tokens': 7}
    assert sums(api) == (90, 0)
    assert len([p for _, p, s in proxy.calls if p.endswith('/release')]) == 4


def test_a_late_commit_becomes_an_event(api):
    told, proxy = run(api, 'late')
    assert told == {'charged': 30, 'event': True}
    assert proxy.statuses('POST', '/v1/events') == [201]
    assert sums(api) == (30, 0)
