# Copyright (C) nginx-cycles authors

"""The time of day jumps, forward and back, while requests run and settlements
wait: each is settled once, and what counts time is not led astray."""


import pytest

from gateway import Conn, Gate, chat_stream, ledger_gateway, wait_until
from authorities import authority, cost
from journal import Journal
from ledger_log import Log, State


BUDGET = 10 ** 9

HOUR = 3600

BOTH = pytest.mark.parametrize('kind', ['ledger', 'cycles'])

JUMPS = pytest.mark.parametrize('jumps', [
    (HOUR,), (-HOUR,), (HOUR, -2 * HOUR, HOUR), (400 * 24 * HOUR,)],
    ids=['forward', 'back', 'about', 'a year'])


@pytest.fixture
def start(nginx, provider, clock):
    """start(kind, ...) gives (nginx, authority)."""

    opened = []

    def begin(kind, location='', http='', scopes=None, **kw):
        who = authority(kind, scopes or {'tenant:acme': BUDGET}, **kw)
        opened.append(who.__enter__())
        return who.attach(nginx(env=clock.env(), **who.gateway(
            provider, location='cycles_retry initial=20ms;' + location,
            http=http))), who

    yield begin

    for who in opened:
        who.__exit__()


class Stream:

    def __init__(self, ng, provider, chunks=6, tenant='acme'):
        self.chunks = chunks
        self.gate = Gate()
        provider.script(chat_stream(chunks, gates={2: self.gate}))
        self.conn = Conn(ng.port)
        self.conn.send_chat(tenant=tenant, stream=True, max_tokens=100)
        self.head = self.conn.read_head()
        self.gate.wait_reached()

    def finish(self):
        self.gate.open()
        r = self.conn.read_response(head=self.head)
        assert r.complete and r.text.count('word ') == self.chunks
        self.conn.close()
        return cost(10, self.chunks)


def noticed(ng):
    """A worker looks at the clock when something happens."""

    assert ng.chat(tenant='other').status == 200


@BOTH
@JUMPS
def test_in_the_middle_of_a_stream(start, provider, clock, kind, jumps):
    """It costs what it costs, once, also when the clock says that its lease
    has ended; and so do those that come behind."""

    ng, who = start(kind, scopes={'tenant:acme': BUDGET,
                                  'tenant:other': BUDGET})
    stream = Stream(ng, provider)
    for jump in jumps:
        clock.jump(jump)
        noticed(ng)
    charged = stream.finish()
    wait_until(lambda: who.budget('tenant:acme')['spent'] == charged)
    noticed(ng)
    who.settled()
    assert who.budget('tenant:acme')['spent'] == charged
    assert who.budget('tenant:other')['spent'] \
        == (len(jumps) + 1) * cost(10, 5)

    kinds = [name for name, _ in who.story('acme')]
    if kind == 'ledger' and jumps[0] > 0:

        # the ledger is on this machine, and its leases are in its time

        assert kinds == ['reserve', 'expire', 'event']
        wait_until(lambda: [line['cycles_settlement']
                            for line in ng.access_log()
                            if line['cycles_scope'] == 'tenant:acme']
                   == ['event'], what='its line in the log')
    else:
        assert kinds == ['reserve', 'commit']
    who.audit()


def test_the_ledger_after_a_crash(start, provider, clock):
    """What was written in any order of times is the same state again; a hold
    of nobody goes when its time has come by the clock that is set right."""

    ng, who = start('ledger', location='cycles_ttl 5s;')
    clock.jump(HOUR)
    assert ng.chat(tenant='acme').status == 200
    stream = Stream(ng, provider)
    clock.jump(-2 * HOUR)
    assert ng.chat(tenant='acme').status == 200
    before = ng.budget('tenant:acme')
    assert before['reserved'] > 0
    ng.kill9()
    stream.gate.open()
    stream.conn.close()

    ng.start()
    assert ng.budget('tenant:acme') == before
    assert ng.chat(tenant='acme').status == 200
    clock.jump(HOUR)
    assert ng.chat(tenant='acme').status == 200
    assert ng.live_reservations() == 1

    clock.jump(HOUR + 60)
    wait_until(lambda: ng.live_reservations() == 0)
    assert ng.budget('tenant:acme')['spent'] == 4 * cost(10, 5)
    who.audit()

    ng.quit()
    ng.start()
    assert ng.budget('tenant:acme')['spent'] == 4 * cost(10, 5)
    state = State(Log(ng.path('ledger')).records())
    assert state.problems == []


def test_a_period_is_not_opened_again(nginx, provider, clock):
    """Forward over its end, and back: what was spent in either stays, and
    nobody has twice the budget in one of them."""

    period = {'period': {'type': 'rolling', 'seconds': 1000}}
    ng = nginx(env=clock.env(), **ledger_gateway(
        provider, ('tenant:acme', 10, period), location='''
            cycles_estimate 10;
            cycles_actual 10;
        '''))

    assert ng.chat(tenant='acme').status == 200
    assert ng.chat(tenant='acme').status == 429
    clock.jump(1000)
    assert ng.chat(tenant='acme').status == 200
    assert ng.chat(tenant='acme').status == 429
    clock.jump(-1000)
    assert ng.chat(tenant='acme').status == 429
    ng.kill9()
    ng.start()
    assert ng.chat(tenant='acme').status == 429
    clock.jump(1000)
    assert ng.chat(tenant='acme').status == 429
    clock.jump(1000)
    assert ng.chat(tenant='acme').status == 200
    assert ng.budget('tenant:acme')['spent'] == 10


@pytest.mark.parametrize('jump', [HOUR, -HOUR], ids=['forward', 'back'])
def test_heartbeats_do_not_look_at_it(start, provider, clock, jump):
    """The lease at a server is kept as if nothing had happened."""

    ng, who = start('cycles', location='cycles_timeout 1s; cycles_ttl 4s;')
    stream = Stream(ng, provider)
    clock.jump(jump)
    who.cycles.wait(lambda: who.cycles.count('extend') >= 2, 30)
    assert who.live() == 1
    charged = stream.finish()
    who.settled()
    assert [name for name, _ in who.story('acme')] == ['reserve', 'commit']
    assert who.audit()['charged'] == charged


@pytest.mark.parametrize('jump', [HOUR, -HOUR], ids=['forward', 'back'])
def test_a_retry_does_not_look_at_it(start, clock, jump):
    """Of a process that lives: it comes when the server said."""

    ng, who = start('cycles', http='''
        cycles_journal path=%%DIR%%/journal replay=200ms;
    ''')
    journal = Journal(ng.path('journal'))
    who.cycles.fault('commit', {'apply': 0, 'status': 429, 'headers': {
        'Retry-After': '2'}, 'body': {'error': 'LIMIT_EXCEEDED',
                                      'message': 'slow down'}})
    assert ng.chat(tenant='acme').status == 200
    journal.wait_record(lambda r: r['not_before_ms'])
    clock.jump(jump)
    who.settled()
    first, second = who.cycles.log('commit')
    assert 2 <= second.time - first.time < 20
    assert first.body == second.body
    journal.wait_empty()
    assert who.audit()['charged'] == cost(10, 5)


def test_a_record_of_a_clock_that_was_ahead(start, clock):
    """After a restart it waits as a conformant client does, for an hour at
    most (see t/unit/journal.c), and is there all that time; then it comes by
    the time of day."""

    ng, who = start('cycles', http='''
        cycles_journal path=%%DIR%%/journal replay=200ms;
    ''')
    journal = Journal(ng.path('journal'))
    clock.jump(24 * HOUR)
    who.cycles.fault('commit', {'apply': 0, 'status': 429, 'headers': {
        'Retry-After': '60'}, 'body': {'error': 'LIMIT_EXCEEDED',
                                      'message': 'slow down'}})
    assert ng.chat(tenant='acme').status == 200
    journal.wait_record(lambda r: r['not_before_ms'])
    ng.kill9()
    clock.jump(-24 * HOUR)
    ng.start()
    assert ng.chat(tenant='acme').status == 200
    who.cycles.wait(lambda: who.cycles.count('commit') == 2)
    wait_until(lambda: len(journal.files()) == 1)
    clock.jump(25 * HOUR)
    who.settled()
    journal.wait_empty()
    assert who.check_sums()['charged'] == 2 * cost(10, 5)
