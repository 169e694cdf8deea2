# Copyright (C) nginx-cycles authors

"""Streams that take longer than their lease: heartbeats keep the reservation,
and whatever becomes of them, the stream goes on.

With "cycles_timeout 1s" one try of a beat takes at most a second, the least
that the protocol counts with, and so does the margin: a beat comes three
seconds before the end of the lease.  So a ttl of 3200ms beats after 200 ms.
"""

import pytest

import gateway
from gateway import Conn, Gate, chat_stream, wait_until
from authorities import Ledger, Server, cost


BUDGET = 10 ** 9

FAST = '''
    cycles_timeout 1s;
    cycles_ttl 3200ms;
    cycles_grace_period 0;
    cycles_retry initial=20ms;
    cycles_breaker off;
'''


class Stream:
    """A client that reads a stream, which waits at a gate."""

    def __init__(self, ng, provider, tenant='acme', chunks=6):
        self.chunks = chunks
        self.gate = Gate()
        provider.script(chat_stream(chunks, gates={chunks - 1: self.gate}))
        self.conn = Conn(ng.port, 60)
        self.conn.send_chat(tenant=tenant, stream=True, max_tokens=100)
        self.head = self.conn.read_head()
        self.gate.wait_reached()

    def finish(self):
        """It was not cut: all of it comes once the provider goes on."""

        self.gate.open()
        r = self.conn.read_response(head=self.head)
        assert r.status == 200 and r.complete
        assert r.text.count('word ') == self.chunks
        assert r.text.endswith('data: [DONE]\n\n')
        self.conn.close()

    @property
    def cost(self):
        return cost(10, self.chunks)


@pytest.fixture
def server(nginx, provider):
    opened = []

    def start(location=FAST, workers=2, **options):
        who = Server({'tenant:acme': BUDGET}, **options)
        opened.append(who.__enter__())
        ng = who.attach(nginx(workers=workers, **who.gateway(
            provider, location=location)))
        return ng, who, who.cycles

    yield start

    for who in opened:
        who.__exit__()


def extend_keys(cycles):
    return [entry.json['idempotency_key'] for entry in cycles.log('extend')]


def extended(remaining):
    """A reply that makes the next beat come after remaining - 3000 ms."""

    return {'apply': 1, 'body': {'status': 'ACTIVE',
                                 'expires_at_ms': 4102444800000,
                                 'remaining_ttl_ms': remaining}}


REFUSED = {'apply': 0, 'status': 503, 'body': 'away'}


# --------------------------------------------------------------- it is kept


def test_kept_at_the_ledger(nginx, provider):
    """Six leases long, with no grace to help."""

    with Ledger({'tenant:acme': BUDGET}) as who:
        ng = who.attach(nginx(**who.gateway(provider, location='''
            cycles_ttl 1s;
            cycles_grace_period 0;
        ''')))
        stream = Stream(ng, provider)
        reserved = who.budget('tenant:acme')['reserved']

        def extends():
            assert who.budget('tenant:acme')['reserved'] == reserved
            return [rec for rec in who.records() if rec.kind == 'extend']

        begun = who.records()[-1].time

        def long_enough():
            found = extends()
            return found and found[-1].time - begun > 6000

        wait_until(long_enough, 20)
        stream.finish()
        sums = who.audit()
        assert sums['expired'] == 0
        assert sums['charged'] == stream.cost
        assert [item[0] for item in who.story('acme')] == ['reserve',
                                                           'commit']

        # not many more than needed: about one for each half of a lease

        beats = [rec for rec in who.records() if rec.kind == 'extend']
        assert 6 <= len(beats) <= 24
        assert not [line for line in ng.errors('warn', 'error')
                    if 'reservation' in line]


def test_kept_at_the_server(server, provider):
    """Real arithmetic: each beat comes three seconds before the end of the
    lease and adds a ttl to it."""

    ng, who, cycles = server()
    stream = Stream(ng, provider)
    cycles.wait(lambda: cycles.count('extend') == 3, 20)
    assert who.live() == 1
    stream.finish()

    sums = who.audit()
    assert sums['expired'] == 0 and sums['charged'] == stream.cost

    reserve, = cycles.log('reserve')
    beats = cycles.log('extend')
    assert len(beats) == 3
    commit, = cycles.log('commit')
    assert len(set(extend_keys(cycles) + [commit.json['idempotency_key'],
                                          reserve.json['idempotency_key']])) \
           == 5
    assert {e.json['extend_by_ms'] for e in beats} == {3200}

    # earlier by the longest round trip, later when the machine is busy

    times = [e.time - reserve.time for e in beats]
    for time, wanted in zip(times, (0.2, 3.4, 6.6)):
        assert wanted - 0.5 <= time <= wanted + 3 * gateway.SCALE, times


def test_first_beat_of_a_long_lease(nginx, provider):
    """It has no timer in its first second, and comes in time."""

    with Ledger({'tenant:acme': BUDGET}) as who:
        ng = who.attach(nginx(**who.gateway(provider, location='''
            cycles_ttl 4s;
        ''')))
        streams = [Stream(ng, provider) for _ in range(3)]
        begun = who.records()[0].time
        streams.pop(1).finish()

        def beats():
            return [rec for rec in who.records() if rec.kind == 'extend']

        wait_until(lambda: len(beats()) >= 2, 20)
        assert beats()[0].time - begun >= 1900
        for stream in streams:
            stream.finish()
        assert who.audit()['expired'] == 0
        assert len({rec.id for rec in beats()}) == 2


def test_short_requests_do_not_beat(server, provider):
    ng, who, cycles = server()
    for _ in range(5):
        assert ng.chat(tenant='acme').status == 200
    who.settled()
    assert cycles.count('extend') == 0


def test_no_beat_behind_the_settlement(server, provider):
    """The commit is the last that the server hears of a reservation."""

    ng, who, cycles = server()
    cycles.fault('extend', extended(3400), times=-1)
    stream = Stream(ng, provider)
    cycles.wait(lambda: cycles.count('extend') >= 3, gateway.TIMEOUT)
    stream.finish()
    cycles.wait(lambda: cycles.count('commit') == 1)
    ng.quit()
    assert cycles.log()[-1].endpoint == 'commit'


def test_beat_under_way_is_cancelled_by_the_settlement(server, provider):
    ng, who, cycles = server()
    cycles.fault('extend', 'hold')
    stream = Stream(ng, provider)
    cycles.wait(lambda: cycles.count('extend') == 1)
    stream.finish()
    who.wait_story('acme', 'reserve', 'commit')
    assert [e.status for e in cycles.log('extend')] == [None]
    cycles.release()
    wait_until(lambda: who.live() == 0)
    assert who.budget('tenant:acme')['spent'] == stream.cost
    ng.quit()
    assert not ng.errors('error')

    # its connection was closed: the server never came to it

    assert [e.status for e in cycles.log('extend')] == [None]


def test_many_streams_beat_on_their_own(server, provider):
    ng, who, cycles = server(max_extensions=100)
    cycles.fault('extend', extended(3300), times=-1)
    streams = [Stream(ng, provider) for _ in range(20)]
    cycles.wait(lambda: len({e.path for e in cycles.log('extend')}) == 20
                and cycles.count('extend') >= 60, 20)
    for stream in streams:
        stream.finish()
    sums = who.audit()
    assert sums['charged'] == sum(stream.cost for stream in streams)
    assert len(set(extend_keys(cycles))) == cycles.count('extend')


# ----------------------------------------------------------------- it fails


def test_failures_reuse_the_key(server, provider):
    """Two failures and the success have one key and the same bytes, the next
    beat has another."""

    ng, who, cycles = server(workers=1)

    for fault in ('drop_before', 'drop_after', 'reset_before', 'internal',
                  'unavailable', 'malformed', 'wrong_2xx', 'truncated'):

        # on a connection that was kept, nginx itself tries another one first

        n = 3 if fault.partition('_')[0] in ('drop', 'reset') else 2
        before = cycles.count('extend')

        cycles.fault('extend', fault, times=n)
        cycles.fault('extend', extended(3100))
        stream = Stream(ng, provider)
        cycles.wait(lambda: cycles.count('extend') >= before + n + 2, 20)
        stream.finish()
        who.settled()

        keys = extend_keys(cycles)[before:]
        assert len(set(keys[:n + 1])) == 1, fault
        assert keys[n + 1] != keys[0], fault
        first = cycles.log('extend')[before:before + n + 1]
        assert len({(e.path, e.body) for e in first}) == 1, fault

        id = first[0].path.split('/')[3]
        failures = [line for line in ng.errors('warn')
                    if 'extending reservation "%s" failed' % id in line]
        assert len(failures) == 2, fault
        assert all('request goes on' in line for line in failures)

    assert who.audit()['expired'] == 0


def test_retries_come_closer(server, provider):
    """A quarter of what is left of the lease, as long as a try and the margin
    still fit behind it; then it is given up."""

    ng, who, cycles = server()
    cycles.fault('extend', REFUSED, times=-1)
    stream = Stream(ng, provider)
    ng.wait_error_log('is not extended any more')
    beats = cycles.log('extend')
    assert len(set(extend_keys(cycles))) == 1
    assert len(beats) >= 2
    gaps = [b.time - a.time for a, b in zip(beats, beats[1:])]
    assert 0.6 <= gaps[0] <= 0.75 + 0.5 * gateway.SCALE
    assert sum(gaps) <= 1.0 + 0.5 * gateway.SCALE
    stream.finish()
    cycles.wait(lambda: cycles.count('commit') == 1)
    assert len(cycles.log('extend')) == len(beats)


PERMANENT = [
    (410, 'RESERVATION_EXPIRED'), (409, 'RESERVATION_FINALIZED'),
    (409, 'MAX_EXTENSIONS_EXCEEDED'), (409, 'TENANT_CLOSED'),
    (404, 'NOT_FOUND'), (400, 'INVALID_REQUEST'), (401, 'UNAUTHORIZED'),
    (403, 'FORBIDDEN'), (409, 'IDEMPOTENCY_MISMATCH'), (410, None),
    (418, None)]


def test_permanent_codes_stop(server, provider):
    """One beat; the stream goes on, and its usage is committed."""

    ng, who, cycles = server()

    for n, (status, code) in enumerate(PERMANENT, 1):
        cycles.fault('extend', {
            'apply': 0, 'status': status, 'body': '<html>' if code is None
            else {'error': code, 'message': 'no'}}, times=-1)
        stream = Stream(ng, provider)
        wait_until(lambda: ng.error_log().count(
            'is not extended any more') == n)
        stream.finish()
        cycles.wait(lambda: cycles.count('commit') == n)
        assert cycles.count('extend') == n, code
        cycles.clear_faults()
        who.settled()

    assert who.audit()['charged'] == len(PERMANENT) * stream.cost


def test_lost_lease_is_an_event_in_the_end(server, provider):
    """The server has forgotten the reservation when the stream ends: what it
    cost is not lost."""

    ng, who, cycles = server(FAST.replace('3200ms', '1s'))
    cycles.fault('extend', REFUSED, times=-1)
    stream = Stream(ng, provider)
    who.settled(10)                           # it has expired
    stream.finish()
    cycles.wait(lambda: cycles.count('event') == 1)
    sums = who.audit()
    assert sums['charged'] == stream.cost
    assert sums['expired'] == sums['reserved']


def test_throttled_with_time_to_wait(server, provider):
    """429: exactly when it says, if that still is in time."""

    ng, who, cycles = server('''
        cycles_timeout 1500ms;
        cycles_ttl 4200ms;
    ''')
    cycles.fault('extend', 'throttled')               # Retry-After: 1
    stream = Stream(ng, provider)
    cycles.wait(lambda: cycles.count('extend') == 2, 20)
    first, second = cycles.log('extend')
    assert first.body == second.body
    assert 0.99 <= second.time - first.time <= 1.0 + 0.5 * gateway.SCALE
    stream.finish()
    who.audit()


@pytest.mark.parametrize('headers', [{'Retry-After': '2'}, {}],
                         ids=['too long', 'not told'])
def test_throttled_without_time_to_wait(server, provider, headers):
    ng, who, cycles = server()
    cycles.fault('extend', {
        'apply': 0, 'status': 429, 'headers': headers,
        'body': {'error': 'LIMIT_EXCEEDED', 'message': 'slow'}}, times=-1)
    stream = Stream(ng, provider)
    ng.wait_error_log('is not extended any more')
    stream.finish()
    cycles.wait(lambda: cycles.count('commit') == 1)
    assert cycles.count('extend') == 1


def test_lease_too_short_for_the_timeout(server, provider):
    """No positive delay: one beat at once, one more with a new key, then it
    is given up and said."""

    ng, who, cycles = server('cycles_timeout 7s; cycles_ttl 1s;'
                             'cycles_grace_period 30s;')
    cycles.fault('extend', extended(1000), times=-1)
    stream = Stream(ng, provider)
    ng.wait_error_log('too short for "cycles_timeout"')
    stream.finish()
    cycles.wait(lambda: cycles.count('commit') == 1)
    keys = extend_keys(cycles)
    assert len(keys) == len(set(keys)) <= 2
    assert who.audit()['charged'] == stream.cost


# -------------------------------------------------- servers of yesterday


def test_server_without_remaining_ttl(server, provider):
    """The first beat comes at once, then one for each half of the ttl; the
    lease never ends."""

    ng, who, cycles = server('cycles_timeout 1s; cycles_ttl 2s;'
                             'cycles_grace_period 0;', remaining_ttl=False)
    stream = Stream(ng, provider)
    reserve, = cycles.log('reserve')
    cycles.wait(lambda: cycles.count('extend') >= 1)
    assert cycles.log('extend')[0].time - reserve.time < (
        0.5 * gateway.SCALE)
    cycles.wait(lambda: cycles.count('extend') >= 4, 20)
    assert who.live() == 1
    beats = cycles.log('extend')
    assert beats[3].time - beats[0].time >= 2.8
    stream.finish()
    assert who.audit()['charged'] == stream.cost
    assert len(set(extend_keys(cycles))) == cycles.count('extend')


def test_failures_at_a_server_without_remaining_ttl(server, provider):
    ng, who, cycles = server('cycles_timeout 1s; cycles_ttl 1s;'
                             'cycles_grace_period 5s;', remaining_ttl=False)
    cycles.fault('extend', 'drop_after', times=2)
    stream = Stream(ng, provider)
    cycles.wait(lambda: cycles.count('extend') >= 4, 20)
    keys = extend_keys(cycles)
    assert keys[0] == keys[1] == keys[2] != keys[3]
    stream.finish()
    assert who.audit()['charged'] == stream.cost
