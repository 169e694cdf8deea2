# Copyright (C) nginx-cycles authors

"""A thousand requests at once against a budget for a hundred of them: four
workers admit a hundred, whoever counts, run after run, each run with a subject
that nobody has seen before."""

import concurrent.futures
import os

import pytest

from gateway import SCALE, Gate, build_request, chat, chat_request, wait_until
from authorities import authority, cost
from raw import stampede


RUNS = int(os.environ.get('CONTENTION_RUNS') or 20)
REQUESTS = 1000
ADMITTED = 100

ESTIMATE = 1000
ACTUAL = cost(10, 5)


def crowd(tenant, workspace=None):
    path, headers, body = chat_request(
        tenant=tenant, headers={'Connection': 'close'})
    if workspace:
        headers['X-Workspace'] = workspace
    return [build_request('POST', path, headers, body)] * REQUESTS


@pytest.mark.parametrize('kind', ['ledger', 'cycles'])
def test_exactly_as_many_as_are_paid_for(nginx, provider, kind):
    """Each costs what it was estimated at, so nothing is given back."""

    scopes = {'tenant:t%d' % run: ADMITTED * ESTIMATE + ESTIMATE - 1
              for run in range(RUNS)}

    with authority(kind, scopes) as who:
        ng = who.attach(nginx(workers=4, **who.gateway(
            provider, location='cycles_estimate %d; cycles_actual %d;'
            'cycles_timeout %ds; cycles_connect_timeout %ds;'
            'cycles_breaker off;'
            % (ESTIMATE, ESTIMATE, 60 * SCALE, 60 * SCALE))))

        for run in range(RUNS):
            tenant = 't%d' % run
            statuses = stampede(ng.port, crowd(tenant))
            assert statuses.count(200) == ADMITTED
            assert statuses.count(429) == REQUESTS - ADMITTED

            who.settled()
            budget = who.budget('tenant:' + tenant)
            assert budget['spent'] == ADMITTED * ESTIMATE
            assert budget['remaining'] == ESTIMATE - 1

        assert len(provider.requests) == RUNS * ADMITTED

        sums = who.audit()
        assert sums['reserved'] == RUNS * ADMITTED * ESTIMATE
        assert sums['committed'] == sums['reserved']


@pytest.mark.parametrize('kind', ['ledger', 'cycles'])
def test_what_is_given_back_can_be_used_again(nginx, provider, kind):
    """Real usage is less than the estimate: more than a hundred fit, but at
    no time more than the budget, and what is spent is the sum of the usage."""

    scopes = {'tenant:acme': 10 * ADMITTED * ESTIMATE,
              'tenant:acme/workspace:small': ADMITTED * ESTIMATE}

    with authority(kind, scopes) as who:
        ng = who.attach(nginx(workers=4, **who.gateway(
            provider, location='cycles_timeout %ds; cycles_breaker off;'
            'cycles_estimate %d;' % (60 * SCALE, ESTIMATE))))

        statuses = stampede(ng.port, crowd('acme', 'small'))
        admitted = statuses.count(200)
        assert admitted >= ADMITTED
        assert admitted + statuses.count(429) == REQUESTS

        who.audit()
        small = who.budget('tenant:acme/workspace:small')
        assert small['spent'] == admitted * ACTUAL
        assert who.budget('tenant:acme')['spent'] == admitted * ACTUAL
        assert admitted * ACTUAL <= ADMITTED * ESTIMATE


def test_two_subjects_do_not_disturb_each_other(nginx, provider):
    """Scopes share the tenant's budget and have their own."""

    scopes = {'tenant:acme': 150 * ESTIMATE,
              'tenant:acme/workspace:a': ADMITTED * ESTIMATE,
              'tenant:acme/workspace:b': ADMITTED * ESTIMATE}

    with authority('ledger', scopes) as who:
        ng = who.attach(nginx(workers=4, **who.gateway(
            provider, location='cycles_estimate %d; cycles_actual %d;'
            % (ESTIMATE, ESTIMATE))))

        mixed = [request for pair in zip(crowd('acme', 'a')[:500],
                                         crowd('acme', 'b')[:500])
                 for request in pair]
        statuses = stampede(ng.port, mixed)
        a = statuses[0::2].count(200)
        b = statuses[1::2].count(200)
        assert a + b == 150
        assert a <= ADMITTED and b <= ADMITTED

        who.audit()
        assert who.budget('tenant:acme/workspace:a')['spent'] == a * ESTIMATE
        assert who.budget('tenant:acme/workspace:b')['spent'] == b * ESTIMATE
        assert who.budget('tenant:acme')['remaining'] == 0


def test_denials_do_not_leak(nginx, provider):
    """A budget that funds nobody admits nobody and holds nothing."""

    with authority('ledger', {'tenant:poor': ESTIMATE - 1}) as who:
        ng = who.attach(nginx(workers=4, **who.gateway(
            provider, location='cycles_estimate %d;' % ESTIMATE)))
        statuses = stampede(ng.port, crowd('poor'))
        assert statuses.count(429) == REQUESTS
        assert provider.requests == []
        assert who.story('poor') == []
        assert who.audit()['reserved'] == 0


@pytest.mark.parametrize('kind', ['ledger', 'cycles'])
def test_too_few_connections(nginx, provider, kind):
    """A worker that has none left, for clients, for the provider or for
    calls, serves fewer; who was served has paid, and nothing is held."""

    with authority(kind, {'tenant:acme': 10 ** 10}) as who:
        ng = who.attach(nginx(workers=1, connections=64, **who.gateway(
            provider, location='''
                cycles_timeout 1s;
                cycles_retry attempts=20 initial=50ms max=200ms;
            ''')))
        ng.allow += ['worker_connections are not enough', 'reusing']

        # the provider answers nobody before one could not be connected

        gate = Gate()
        provider.default = chat(gate=gate)

        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            statuses = pool.submit(stampede, ng.port, crowd('acme')[:300])
            try:
                wait_until(lambda: ng.errors('alert'))
            finally:
                gate.open()
            statuses = statuses.result()

        served = statuses.count(200)
        assert 0 < served < 300
        assert set(statuses) <= {None, 200, 500, 503}

        who.settled(30)
        sums = who.audit()
        assert sums['expired'] == 0
        assert sums['charged'] == served * ACTUAL
        assert len(provider.requests) == served
