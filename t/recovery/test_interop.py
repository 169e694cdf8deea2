# Copyright (C) nginx-cycles authors

"""One journal for nginx and for programs with an SDK of the protocol: what the
one has left, the other settles.  The SDK is Python's runcycles, with its own
journal and its own replayer."""

import json
import os

import pytest

from runcycles.client import CyclesClient
from runcycles.config import CyclesConfig
from runcycles.retry import CommitRetryEngine

from gateway import wait_until
from authorities import API_KEY, Server, cost
from journal import Journal, file_name, identity
from test_scenarios import LOCATION, reserve


BUDGET = 10 ** 9


@pytest.fixture
def server():
    """A stand-in that both use under one URL."""

    with Server({'tenant:acme': BUDGET}) as who:
        who.LOCATION = who.LOCATION.replace(
            '@cycles;', '@cycles base_url=%s;' % who.cycles.url)
        yield who


def start(nginx, provider, who):
    ng = who.attach(nginx(**who.gateway(
        provider, location=LOCATION,
        http='cycles_journal path=%%DIR%%/journal replay=200ms;')))
    return ng, Journal(ng.path('journal'), who.cycles.url)


def sdk(who, journal):
    """The SDK's configuration, and the engine that retries and replays."""

    config = CyclesConfig(base_url=who.cycles.url, api_key=API_KEY,
                          tenant='acme', journal_dir=journal.path,
                          retry_initial_delay=0.02, retry_max_delay=0.05)
    return config, CommitRetryEngine(config)


def test_the_sdk_replays_ours(nginx, provider, server):
    ng, journal = start(nginx, provider, server)
    cycles = server.cycles
    cycles.fault('commit', {'apply': 0, 'hold': True, 'end': 'close'})
    assert ng.chat(tenant='acme').status == 200
    cycles.wait(lambda: cycles.count('commit') == 1)
    ng.kill9()
    cycles.release()
    path, record = journal.record()

    config, engine = sdk(server, journal)
    with CyclesClient(config) as client:
        engine.set_client(client)
        cycles.wait(lambda: cycles.count('commit') == 2)
        engine.flush(10)
    first, second = cycles.log('commit')
    assert second.json == first.json == record['commit_body']
    assert second.path == first.path
    wait_until(lambda: not journal.files())
    assert cycles.scope('tenant:acme')['spent'] == cost(10, 5)
    assert journal.files('*.corrupt') == []


def test_the_sdk_replays_our_event(nginx, provider, server):
    """One that had expired: our event's body is good for the SDK, too."""

    ng, journal = start(nginx, provider, server)
    cycles = server.cycles
    cycles.fault('commit', 'expired')
    cycles.fault('event', {'apply': 0, 'hold': True, 'end': 'close'})
    assert ng.chat(tenant='acme').status == 200
    cycles.wait(lambda: cycles.count('event') == 1)
    ng.kill9()
    cycles.release()
    path, record = journal.record()
    assert record['mode'] == 'event'

    config, engine = sdk(server, journal)
    with CyclesClient(config) as client:
        engine.set_client(client)
        cycles.wait(lambda: cycles.count('event') == 2)
        engine.flush(10)
    first, second = cycles.log('event')
    assert second.json == first.json == record['event_fallback_body']
    wait_until(lambda: not journal.files())
    assert cycles.scope('tenant:acme')['spent'] == cost(10, 5)


def test_we_replay_the_sdks(nginx, provider, server):
    ng, journal = start(nginx, provider, server)
    cycles = server.cycles
    id = reserve(cycles)

    config, engine = sdk(server, journal)
    actual = {'unit': 'USD_MICROCENTS', 'amount': 4242}
    engine.persist_pending(
        id, {'idempotency_key': 'sdk-1', 'actual': actual,
             'metrics': {'tokens_input': 3, 'custom': {'note': 'a "b" é'}}},
        {'idempotency_key': 'sdk-1', 'subject': {'tenant': 'acme'},
         'action': {'kind': 'llm.completion', 'name': 'x'},
         'actual': actual})

    # another user's program would give it to the group; here both are root's

    where = os.path.join(journal.path, identity(cycles.url, 'acme'))
    assert os.listdir(where) == [file_name(id)]
    with open(os.path.join(where, file_name(id))) as file:
        text = file.read()
    journal.put(file_name(id), text)

    cycles.wait(lambda: cycles.count('commit') == 1)
    commit, = cycles.log('commit')
    assert commit.json == json.loads(text)['commit_body']
    journal.wait_empty()
    assert cycles.scope('tenant:acme')['spent'] == 4242
    assert server.live() == 0
