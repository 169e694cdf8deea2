# Copyright (C) nginx-cycles authors

"""A commit is told that the reservation has been finalized.  Our own commit
would have been answered as before, so somebody else was there: what they did
decides whether the cost becomes an event, or is told and left to them."""

import json
import urllib.request

import pytest

from gateway import Conn, Gate, chat_stream, wait_until
from authorities import API_KEY, Server, cost
from journal import Journal


BUDGET = 10 ** 9

SPENT = cost(10, 4)

LOCATION = 'cycles_retry attempts=5 initial=20ms max=50ms;'

JOURNAL = '''
    cycles_journal path=%%DIR%%/journal replay=200ms flush_timeout=500ms;
'''


class Setup:

    def __init__(self, nginx, provider, who):
        self.who = who
        self.cycles = who.cycles
        self.ng = who.attach(nginx(**who.gateway(
            provider, location=LOCATION, http=JOURNAL)))
        self.journal = Journal(self.ng.path('journal'))
        self.gate = Gate()
        provider.script(chat_stream(4, gates={2: self.gate}))
        self.conn = Conn(self.ng.port)
        self.conn.send_chat(tenant='acme', stream=True, max_tokens=100)
        self.head = self.conn.read_head()
        self.gate.wait_reached()
        self.id, = self.cycles.server.ledger.reservations

    def somebody(self, operation, **members):
        """Settles it, with a key of their own."""

        request = urllib.request.Request(
            '%s/v1/reservations/%s/%s' % (self.cycles.url, self.id,
                                          operation),
            json.dumps(dict(members, idempotency_key='theirs')).encode(),
            {'Content-Type': 'application/json',
             'X-Cycles-API-Key': API_KEY})
        with urllib.request.urlopen(request) as reply:
            assert reply.status == 200

    def finish(self):
        self.gate.open()
        assert self.conn.read_response(head=self.head).complete
        self.conn.close()

    def ours(self, kind):
        return [e for e in self.cycles.log(kind)
                if e.body == b'' or e.json['idempotency_key'] != 'theirs']

    def spent(self):
        return self.cycles.scope('tenant:acme')['spent']

    def paid_by_event(self):
        """With the key of the commit, and all that it stands for."""

        self.journal.wait_empty()
        commit, event = self.ours('commit')[-1], self.ours('event')[-1]
        assert (event.json['idempotency_key']
                == commit.json['idempotency_key'])
        assert event.json['actual'] == commit.json['actual']
        assert event.json['metadata']['recovered_reservation_id'] == self.id
        assert {e.path for e in self.ours('get')} \
            == {'/v1/reservations/' + self.id}
        assert self.spent() == SPENT
        assert self.who.live() == 0


@pytest.fixture
def begin(nginx, provider):
    with Server({'tenant:acme': BUDGET}) as who:
        yield lambda: Setup(nginx, provider, who)


def test_it_was_released(begin):
    """By an administrator: it was used all the same."""

    s = begin()
    s.somebody('release', reason='admin')
    s.finish()
    s.cycles.wait(lambda: s.ours('event'))
    s.paid_by_event()
    look, = s.ours('get')
    assert look.headers['x-cycles-api-key'] == API_KEY
    assert 'content-type' not in look.headers
    assert 'x-idempotency-key' not in look.headers
    assert 'content-length' not in look.headers
    s.ng.wait_error_log(r'\[warn\].*commit of reservation "%s": status 409 '
                        r'"RESERVATION_FINALIZED", looking at it' % s.id)
    s.ng.wait_error_log(r'\[warn\].*lookup of reservation "%s": status 200, '
                        r'sending it as an event' % s.id)


@pytest.mark.parametrize('amount', [0, 5, SPENT - 1])
def test_it_was_committed_with_less(begin, amount):
    """By its tenant, say, who has the id of it and a key: the rest is an
    event, so that all of it is paid, and nothing of it twice."""

    s = begin()
    s.somebody('commit', actual={'unit': 'USD_MICROCENTS', 'amount': amount})
    s.cycles.fault('event', 'drop_after')
    s.finish()
    s.cycles.wait(lambda: len(s.ours('event')) >= 2)
    s.journal.wait_empty()
    commit, = s.ours('commit')
    first, second = s.ours('event')
    assert first.body == second.body
    assert first.json['actual']['amount'] == SPENT - amount
    assert first.json['idempotency_key'] == commit.json['idempotency_key']
    assert first.json['metadata']['recovered_reservation_id'] == s.id
    assert s.spent() == SPENT


@pytest.mark.parametrize('amount', [SPENT, SPENT + 1])
def test_it_was_committed(begin, amount):
    """To charge it once more would be one time too many; it is told."""

    s = begin()
    s.somebody('commit', actual={'unit': 'USD_MICROCENTS', 'amount': amount})
    s.finish()
    s.ng.wait_error_log(r'\[error\].*lookup of reservation "%s": status 200, '
                        r'somebody else has committed it' % s.id)
    s.journal.wait_empty()
    assert s.ours('event') == []
    assert len(s.ours('commit')) == 1
    assert s.spent() == amount


def test_killed_with_the_rest_on_its_way(begin):
    """What the journal has is the event of the rest."""

    s = begin()
    s.somebody('commit', actual={'unit': 'USD_MICROCENTS', 'amount': 5})
    s.cycles.fault('event', 'hold')
    s.finish()
    s.cycles.wait(lambda: s.ours('event'))
    path, record = s.journal.record()
    assert record['mode'] == 'event'
    assert record['event_fallback_body']['actual']['amount'] == SPENT - 5
    s.ng.kill9()
    s.cycles.release()
    s.ng.start()
    s.journal.wait_empty()
    first, second = s.ours('event')
    assert first.body == second.body
    assert s.spent() == SPENT


@pytest.mark.parametrize('fault', [
    'drop_before', 'internal', 'malformed', 'wrong_2xx', 'throttled',
    {'apply': 0, 'body': {'status': 'ACTIVE'}}],
    ids=['lost', 'failed', 'malformed', 'another 2xx', 'throttled', 'active'])
def test_the_look_is_tried_again(begin, fault):
    s = begin()
    s.somebody('release', reason='admin')
    s.cycles.fault('get', fault)
    s.finish()
    s.cycles.wait(lambda: s.ours('event'))
    s.paid_by_event()
    looks = len(s.ours('get'))
    assert looks >= 2
    assert len(s.ours('commit')) == 1

    # it is told as what it is; but what is lost nginx itself asks once more

    m = s.ng.metrics()
    if fault != 'drop_before':
        assert m['cycles_retries_total{operation="lookup"}'] == looks - 1
    for name in ('cycles_retries_total{operation="commit"}',
                 'cycles_retries_total{operation="event"}',
                 'cycles_journal_replayed_total{result="settled"}',
                 'cycles_journal_replayed_total{result="failed"}'):
        assert m[name] == 0


@pytest.mark.parametrize('fault', ['unauthorized', {
    'apply': 0, 'status': 404,
    'body': {'error': 'NOT_FOUND', 'message': 'Reservation not found'}}],
    ids=['401', '404'])
def test_the_look_is_refused(begin, fault):
    """Nobody knows, so the record stays, and the next one looks again."""

    s = begin()
    s.somebody('release', reason='admin')
    s.cycles.fault('get', fault)
    s.finish()
    s.ng.wait_error_log(r'\[error\].*lookup of reservation "%s": status 40\d '
                        r'.*not settled, the journal keeps it' % s.id)
    s.cycles.wait(lambda: s.ours('event'))
    s.paid_by_event()
    assert len(s.ours('get')) == 2


def test_killed_while_it_looks(begin):
    """The record is still that of a commit: all of it is done again."""

    s = begin()
    s.somebody('release', reason='admin')
    s.cycles.fault('get', 'hold')
    s.finish()
    s.cycles.wait(lambda: s.ours('get'))
    path, record = s.journal.record()
    assert record['mode'] == 'commit'
    s.ng.kill9()
    s.cycles.release()
    s.ng.start()
    s.cycles.wait(lambda: s.ours('event'))
    s.paid_by_event()
    first, second = s.ours('commit')
    assert first.body == second.body


def test_it_had_expired(begin):
    """The server says so when it is looked at."""

    s = begin()
    s.cycles.fault('commit', {'apply': 0, 'status': 409, 'body': {
        'error': 'RESERVATION_FINALIZED', 'message': 'finalized'}})
    s.cycles.fault('get', 'expired')
    s.finish()
    s.cycles.wait(lambda: s.ours('event'))
    s.journal.wait_empty()
    wait_until(lambda: s.spent() == SPENT)
