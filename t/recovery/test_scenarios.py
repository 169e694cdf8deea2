# Copyright (C) nginx-cycles authors

"""The twelve scenarios of the recovery profile of the protocol's SDKs, level
"durable": what is on the wire, in the journal and in the budget.

t/recovery/adapter runs one of them by its id.
"""

import json
import os
import re
import stat
import time
import urllib.request

import pytest

from gateway import RESET, Conn, Gate, chat, chat_stream, wait_until
from authorities import API_KEY, Server, cost
from journal import Journal, commit_record, file_name, identity


BUDGET = 10 ** 9
SPENT = cost(10, 5)

LOCATION = '''
    cycles_timeout 2s;
    cycles_retry initial=20ms max=50ms;
'''

JOURNAL = 'cycles_journal path=%%DIR%%/journal replay=200ms flush_timeout=1s;'


class Setup:
    """A gateway with a journal in front of a stand-in of a Cycles server."""

    def __init__(self, nginx, provider, who, location=LOCATION, http=JOURNAL,
                 **kw):
        self.who = who
        self.cycles = who.cycles
        self.provider = provider
        self.ng = who.attach(nginx(**who.gateway(
            provider, location=location, http=http, **kw)))
        self.journal = Journal(self.ng.path('journal'))

    def chat(self, **kw):
        r = self.ng.chat(tenant='acme', **kw)
        assert r.status == 200
        return r

    def keys(self, kind):
        return [e.json['idempotency_key'] for e in self.cycles.log(kind)]

    def spent(self):
        return self.cycles.scope('tenant:acme')['spent']

    def restart(self):
        """After kill9()."""

        self.ng.start()

    def audit(self):
        """Settled exactly once, with one key and one body, and nothing is
        left behind.  (A replay has no trace of the request that is gone.)"""

        self.journal.wait_empty()
        self.who.check_sums()
        state = self.cycles.state()
        assert state['mismatches'] == 0
        assert state['statuses'].get('ACTIVE', 0) == 0
        for kind in 'commit', 'event':
            assert len({(e.path, e.body, e.headers['x-idempotency-key'])
                        for e in self.cycles.log(kind)}) <= 1


@pytest.fixture
def setup(nginx, provider):
    opened = []

    def start(options=None, api_key=API_KEY, **kw):
        who = Server({'tenant:acme': BUDGET}, api_key=api_key,
                     **(options or {}))
        opened.append(who.__enter__())
        return Setup(nginx, provider, who, **kw)

    yield start

    for who in opened:
        who.__exit__()


def reserve(cycles, tenant='acme', amount=5000, **members):
    """A reservation that somebody else has made; its id."""

    body = {'idempotency_key': 'other-' + str(time.monotonic_ns()),
            'subject': {'tenant': tenant},
            'action': {'kind': 'llm.completion', 'name': 'openai:gpt-4o'},
            'estimate': {'unit': 'USD_MICROCENTS', 'amount': amount},
            'ttl_ms': 60000}
    body.update(members)
    request = urllib.request.Request(
        cycles.url + '/v1/reservations', json.dumps(body).encode(),
        {'Content-Type': 'application/json', 'X-Cycles-API-Key': API_KEY})
    with urllib.request.urlopen(request) as reply:
        return json.load(reply)['reservation_id']


# ------------------------------------------------------------------- core


def test_cr_core_001_lost_response_reuses_the_key(setup):
    """The commit is applied, its answer is lost: the same bytes again."""

    s = setup()
    s.cycles.fault('commit', 'drop_after')
    s.chat()
    s.cycles.wait(lambda: s.cycles.count('commit') == 2)
    first, second = s.cycles.log('commit')
    assert first.body == second.body
    assert (first.headers['x-idempotency-key']
            == second.headers['x-idempotency-key'])
    s.audit()
    assert s.spent() == SPENT


def test_cr_core_002_expired_commit_becomes_an_event(setup):
    """It carries the subject, the action and the actual amount."""

    s = setup()
    s.cycles.fault('commit', 'expired')
    s.chat()
    s.cycles.wait(lambda: s.cycles.count('event') == 1)
    reserved, = s.cycles.log('reserve')
    commit, = s.cycles.log('commit')
    event, = s.cycles.log('event')
    assert s.keys('event') == s.keys('commit')
    assert event.json['subject'] == reserved.json['subject']
    assert event.json['action'] == reserved.json['action']
    assert event.json['actual'] == commit.json['actual']
    assert event.json['metadata']['recovered_reservation_id'] \
        == commit.path.split('/')[3]
    s.journal.wait_empty()
    assert s.spent() == SPENT


def test_cr_core_003_heartbeat_failure_is_told_and_not_fatal(setup):
    """The lost extend is sent again with its key; the reply goes on."""

    s = setup(location='''
        cycles_timeout 1s;
        cycles_ttl 4s;
        cycles_retry initial=20ms;
    ''')
    gate = Gate()
    s.provider.script(chat_stream(4, gates={3: gate}))
    # once for the connection that was kept, and once for a new one

    s.cycles.fault('extend', 'drop_before', times=2)
    with Conn(s.ng.port, 60) as conn:
        conn.send_chat(tenant='acme', stream=True, max_tokens=100)
        head = conn.read_head()
        gate.wait_reached()
        s.cycles.wait(lambda: s.cycles.count('extend') >= 3, 30)
        gate.open()
        r = conn.read_response(head=head)
    assert r.complete and r.text.count('word ') == 4
    keys = s.keys('extend')
    assert keys[0] == keys[1] == keys[2]
    s.cycles.wait(lambda: s.cycles.count('commit') == 1)
    id = s.cycles.log('commit')[0].path.split('/')[3]
    s.ng.wait_error_log(r'\[warn\].*extending reservation "%s" failed, '
                        r'status \d+, retry in \d+ ms, request goes on' % id)
    s.audit()
    assert s.spent() == cost(10, 4)


@pytest.mark.parametrize('fault', ['wrong_2xx', 'empty', 'malformed',
                                   'not_json', 'status'])
def test_cr_core_004_invalid_success_is_ambiguous(setup, fault):
    """Only the exact success ends it; the record stays until then."""

    s = setup()
    seen = []
    s.cycles.fault('commit', fault if fault != 'status' else
                   {'apply': 1, 'body': {'status': 'DONE', 'charged': {
                       'unit': 'USD_MICROCENTS', 'amount': SPENT}}})
    s.cycles.fault('commit', 'hold')
    s.chat()
    s.cycles.wait(lambda: s.cycles.count('commit') == 2)
    seen = s.journal.records()
    s.cycles.release()
    first, second = s.cycles.log('commit')
    assert first.body == second.body
    assert len(seen) == 1
    s.audit()
    assert s.spent() == SPENT


# ---------------------------------------------------------------- durable


def test_cr_durable_001_journaled_before_it_is_sent(setup):
    """Killed with the first commit on its way; the next start sends it."""

    s = setup()
    s.cycles.fault('commit', {'apply': 0, 'hold': True, 'end': 'close'})
    s.chat()
    s.cycles.wait(lambda: s.cycles.count('commit') == 1)

    # it is there when the request is

    path, record = s.journal.record()
    commit, = s.cycles.log('commit')
    id = commit.path.split('/')[3]
    assert os.path.basename(path) == file_name(id)
    assert os.path.basename(os.path.dirname(path)) \
        == identity('http://cycles', 'acme')
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode) == 0o700
    assert record['mode'] == 'commit' and record['version'] == 1
    assert record['commit_body'] == commit.json
    assert record['reservation_id'] == id
    assert record['not_before_ms'] is None

    s.ng.kill9()
    s.cycles.release()
    assert s.journal.files() == [path]

    s.restart()
    s.cycles.wait(lambda: s.cycles.count('commit') == 2)
    first, second = s.cycles.log('commit')
    assert first.body == second.body and first.path == second.path
    assert (first.headers['x-idempotency-key']
            == second.headers['x-idempotency-key'])
    s.audit()
    assert s.spent() == SPENT


def test_cr_durable_002_event_mode_is_durable(setup):
    """An expired commit is an event in the journal before it is one on the
    wire, and stays one over another crash."""

    s = setup()
    id = reserve(s.cycles, ttl_ms=1000, grace_period_ms=0)
    wait_until(lambda: s.who.live() == 0, 10, 'the end of the lease')
    s.ng.kill9()
    path = s.journal.put(file_name(id), commit_record(id, 4321))

    s.cycles.fault('event', {'apply': 0, 'hold': True, 'end': 'close'})
    s.restart()
    s.cycles.wait(lambda: s.cycles.count('event') == 1)
    assert s.keys('commit') == ['key-1']
    with open(path) as file:
        record = json.load(file)
    assert record['mode'] == 'event'
    assert record['event_fallback_body'] \
        == commit_record(id, 4321)['event_fallback_body']

    s.ng.kill9()
    s.cycles.release()
    s.restart()
    s.cycles.wait(lambda: s.cycles.count('event') == 2)
    first, second = s.cycles.log('event')
    assert first.body == second.body
    assert s.keys('event') == ['key-1', 'key-1']
    assert s.cycles.count('commit') == 1
    s.journal.wait_empty()
    assert s.spent() == 4321


def test_cr_durable_003_rate_limit_floor_survives(setup):
    """Nobody tries again before Retry-After is over, restarted or not."""

    s = setup()
    s.cycles.fault('commit', {'apply': 0, 'status': 429,
                              'headers': {'Retry-After': '3'},
                              'body': {'error': 'LIMIT_EXCEEDED',
                                       'message': 'slow down'}})
    s.chat()
    path, record = s.journal.wait_record(lambda r: r['not_before_ms'])
    first, = s.cycles.log('commit')
    assert record['not_before_ms'] >= record['recorded_at_ms'] + 3000 - 500
    s.ng.kill9()
    s.restart()
    s.cycles.wait(lambda: s.cycles.count('commit') == 2, 30)
    assert time.time() * 1000 >= record['not_before_ms']
    first, second = s.cycles.log('commit')
    assert first.body == second.body
    s.audit()
    assert s.spent() == SPENT


def test_cr_durable_004_key_rotation(setup):
    """The record is the tenant's, whatever key it was made with, and no key
    is in it."""

    s = setup(api_key='old_secret_key')
    s.cycles.fault('commit', {'apply': 0, 'hold': True, 'end': 'close'})
    s.chat()
    s.cycles.wait(lambda: s.cycles.count('commit') == 1)
    assert 'old_secret_key' not in s.journal.text()
    s.ng.kill9()
    s.cycles.release()

    s.ng.set(guard=s.ng.variables['GUARD'].replace('old_secret_key',
                                                   'new_secret_key'))
    s.ng.write_conf()
    s.restart()
    s.cycles.wait(lambda: s.cycles.count('commit') == 2)
    first, second = s.cycles.log('commit')
    assert first.headers['x-cycles-api-key'] == 'old_secret_key'
    assert second.headers['x-cycles-api-key'] == 'new_secret_key'
    assert first.body == second.body
    s.journal.wait_empty()
    assert s.spent() == SPENT


def test_cr_durable_005_corrupt_records_are_set_aside(setup):
    """They are renamed and told; the valid one is replayed."""

    s = setup()
    id = reserve(s.cycles)
    s.ng.kill9()
    s.journal.put('garbage.json', '{"version":1,"reservation')
    s.journal.put('later.json', commit_record('r-2', 1, version=99))
    s.journal.put(file_name(id), commit_record(id, 1234))
    s.restart()
    s.journal.wait_empty()
    assert [os.path.basename(p) for p in s.journal.files('*.corrupt')] \
        == ['garbage.corrupt', 'later.corrupt']
    log = s.ng.error_log()
    for name in 'garbage', 'later':
        assert re.search(r'\[error\].*"\w{16}/%s\.json" in the journal is no '
                         r'record that can be settled' % name, log)
    assert s.cycles.count('commit') == 1
    s.audit()
    assert s.spent() == 1234


def test_cr_durable_006_two_replay_at_once(setup, nginx, provider):
    """Two nginx with one journal: the record is settled once."""

    s = setup()
    id = reserve(s.cycles)
    other = nginx(**s.who.gateway(
        provider, location=LOCATION,
        http='cycles_journal path=%s/journal replay=200ms;' % s.ng.dir))
    s.ng.kill9()
    other.kill9()
    s.journal.put(file_name(id), commit_record(id, 777))
    other.start()
    s.restart()
    s.audit()
    assert set(s.keys('commit')) == {'key-1'}
    assert s.spent() == 777


def test_cr_durable_007_names_of_arbitrary_ids(setup):
    """Two ids with one older name: each gets its own, none is lost."""

    s = setup()
    s.ng.kill9()
    slash = s.journal.put('rsv_a.json', commit_record('rsv/a', 1, key='k-1'))
    under = s.journal.put(file_name('rsv_a'),
                          commit_record('rsv_a', 2, key='k-2'))
    s.cycles.fault('commit', 'unauthorized', times=-1)
    s.restart()
    s.cycles.wait(lambda: {'k-1', 'k-2'} <= set(s.keys('commit')))
    assert not os.path.exists(slash)
    assert os.path.exists(under)
    assert [os.path.basename(p) for p in s.journal.files()] \
        == sorted([file_name('rsv/a'), file_name('rsv_a')])
    paths = {e.json['idempotency_key']: e.path for e in s.cycles.log('commit')}
    assert paths['k-1'] == '/v1/reservations/rsv%2Fa/commit'
    assert paths['k-2'] == '/v1/reservations/rsv_a/commit'
    s.ng.wait_error_log('not settled, the journal keeps it')


# --------------------------------------------------------------- boundary


@pytest.mark.parametrize('what', ['refused', 'no usage', 'broken off'])
def test_cr_boundary_001_nothing_without_an_actual(setup, what):
    """A provider that fails before a reply, one that reports nothing, one
    that breaks off, under the policies that know no estimates: neither commit
    nor event, nothing in the journal, and it is told."""

    s = setup(location=LOCATION + '''
        cycles_on_missing_usage release;
        cycles_on_abort hold;
        cycles_ttl 1s;
        cycles_grace_period 0;
    ''')
    if what == 'refused':
        s.provider.refuse()
        assert s.ng.chat(tenant='acme').status == 502
        s.ng.wait_error_log(r'connect\(\) failed')
    elif what == 'no usage':
        s.provider.script(chat(with_usage=False))
        assert s.ng.chat(tenant='acme').status == 200
        s.ng.wait_error_log(r'\[warn\].*reply without usage, reservation '
                            r'"[^"]+" is released')
    else:
        s.provider.script(chat_stream(4, cut=(2, RESET)))
        assert not s.ng.chat(tenant='acme', stream=True).complete
        s.ng.wait_error_log(r'\[warn\].*reply that broke off without usage, '
                            r'reservation "[^"]+" is left to its expiry')

    wait_until(lambda: s.who.live() == 0)
    assert s.cycles.count('release') == (what != 'broken off')
    assert s.cycles.count('commit') == 0
    assert s.cycles.count('event') == 0
    assert s.journal.files() == []
    s.audit()
    assert s.spent() == 0
