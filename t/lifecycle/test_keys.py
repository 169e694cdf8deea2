# Copyright (C) nginx-cycles authors

"""cycles_idempotency_key: the key of a reserve is the client's.  It makes a
repeated reserve the same reservation, but a provider that is asked twice is
paid twice, however the requests of one key meet."""

import pytest

import gateway
from gateway import Conn, Gate, chat, wait_until
from authorities import OUTPUT, authority, cost


BUDGET = 10 ** 9

KEYED = '''
    cycles_idempotency_key $http_idempotency_key;
    cycles_retry initial=20ms;
'''

BOTH = pytest.mark.parametrize('kind', ['ledger', 'cycles'])


@pytest.fixture
def start(nginx, provider):
    opened = []

    def begin(kind, location=KEYED, scopes=None, **kw):
        who = authority(kind, scopes or {'tenant:acme': BUDGET})
        opened.append(who.__enter__())
        return who.attach(nginx(**who.gateway(
            provider, location=location, **kw))), who

    yield begin

    for who in opened:
        who.__exit__()


def ask(ng, key, **kw):
    return ng.chat(tenant='acme', headers={'Idempotency-Key': key}, **kw)


def open_request(ng, key, **kw):
    conn = Conn(ng.port)
    conn.send_chat(tenant='acme', headers={'Idempotency-Key': key}, **kw)
    return conn


def spent(who):
    return who.budget('tenant:acme')['spent']


def test_key_on_the_wire(start):
    """It is any text; the key of the commit is our own."""

    ng, who = start('cycles')
    assert ask(ng, 'order 66/a"b').status == 200
    who.settled()
    reserve, = who.cycles.log('reserve')
    commit, = who.cycles.log('commit')
    assert reserve.json['idempotency_key'] == 'order 66/a"b'
    assert commit.json['idempotency_key'] != 'order 66/a"b'
    who.audit()


@BOTH
def test_no_key_is_a_key_of_our_own(start, provider, kind):
    ng, who = start(kind)
    for _ in range(2):
        assert ng.chat(tenant='acme').status == 200
        who.settled()
    assert who.audit()['charged'] == 2 * cost(10, 5)


@BOTH
def test_same_key_again_is_another_call(start, provider, kind):
    """The reservation of the key is settled: a new one is made."""

    ng, who = start(kind)
    for n in range(1, 4):
        assert ask(ng, 'k1').status == 200
        who.settled()
        assert spent(who) == n * cost(10, 5)
    assert len(provider.requests) == 3
    assert who.audit(shared_keys=True)['charged'] == 3 * cost(10, 5)


@BOTH
def test_same_key_behind_a_release(start, provider, kind):
    """The provider failed, the client tries again with its key."""

    ng, who = start(kind)
    provider.script(gateway.error(500))
    assert ask(ng, 'k1').status == 500
    who.settled()
    assert ask(ng, 'k1').status == 200
    sums = who.audit(shared_keys=True)
    assert sums['charged'] == cost(10, 5)
    assert sums['released'] * 2 == sums['reserved']


@BOTH
def test_same_key_at_the_same_time(start, provider, kind):
    """Two requests share one hold; both are paid, the second as an event,
    since its reservation is settled by then."""

    gates = [Gate(), Gate()]
    ng, who = start(kind)
    provider.script(chat(prompt=7, gate=gates[0]),
                    chat(prompt=9, gate=gates[1]))
    conns = []
    for gate in gates:
        conns.append(open_request(ng, 'k1'))
        gate.wait_reached()

    assert who.live() == 1

    gates[0].open()
    assert conns[0].read_response().status == 200
    who.settled()
    assert spent(who) == cost(7, 5)

    gates[1].open()
    assert conns[1].read_response().status == 200
    wait_until(lambda: spent(who) == cost(7, 5) + cost(9, 5))
    for conn in conns:
        conn.close()

    assert who.story('acme')[-1] == ('event', cost(9, 5))


@BOTH
def test_one_of_two_leaves(start, provider, kind):
    """The first settles the hold of both; the second is not for free."""

    gates = [Gate(), Gate()]
    ng, who = start(kind)
    provider.script(chat(gate=gates[0]), chat(prompt=9, gate=gates[1]))
    conns = []
    for gate in gates:
        conns.append(open_request(ng, 'k1', max_tokens=100))
        gate.wait_reached()

    prompt = who.budget('tenant:acme')['reserved'] - 100 * OUTPUT
    conns[0].reset()
    who.settled()
    assert spent(who) == prompt               # the provider took the request

    gates[1].open()
    assert conns[1].read_response().status == 200
    wait_until(lambda: spent(who) == prompt + cost(9, 5))
    conns[1].close()
    gates[0].open()


def test_client_that_tries_again_during_its_reserve(start, provider):
    """The reserve of the request that was given up is answered last and
    releases what both share; the other one is paid nevertheless."""

    gate = Gate()
    ng, who = start('cycles', workers=1)
    provider.script(chat(prompt=9, gate=gate))
    who.cycles.fault('reserve', 'hold')

    first = open_request(ng, 'k1')
    who.wait_story('acme', 'reserve')
    first.close()
    ng.wait_access_log(1)

    second = open_request(ng, 'k1')
    gate.wait_reached()
    who.cycles.release()
    who.wait_story('acme', 'reserve', 'reserve', 'release')

    gate.open()
    assert second.read_response().status == 200
    second.close()
    wait_until(lambda: spent(who) == cost(9, 5))
    who.wait_story('acme', 'reserve', 'reserve', 'release', 'commit',
                   'event')


@BOTH
def test_same_key_for_another_request(start, provider, kind):
    ng, who = start(kind)
    assert ask(ng, 'k1').status == 200
    who.settled()
    r = ask(ng, 'k1', content='Something else, and longer than before.')
    assert r.header('x-cycles-decision') == 'DENY'
    assert r.header('x-cycles-reason') == 'IDEMPOTENCY_MISMATCH'
    assert len(provider.requests) == 1
    who.audit(mismatches=1, shared_keys=True)


@BOTH
def test_keys_are_of_a_tenant(start, provider, kind):
    ng, who = start(kind, scopes={'tenant:acme': BUDGET,
                                  'tenant:other': BUDGET})
    for tenant in 'acme', 'other':
        r = ng.chat(tenant=tenant, headers={'Idempotency-Key': 'k1'})
        assert r.status == 200
    who.settled()
    for tenant in 'acme', 'other':
        assert who.budget('tenant:' + tenant)['spent'] == cost(10, 5)


@BOTH
def test_key_behind_a_restart(start, provider, kind):
    """A worker that dies has not settled: the client's next try finds the
    hold that its key has made."""

    gate = Gate()
    ng, who = start(kind, workers=1)
    provider.script(chat(gate=gate))
    conn = open_request(ng, 'k1')
    gate.wait_reached()
    pid, = ng.workers()
    ng.kill_worker(pid)
    ng.wait_workers([pid])
    conn.wait_closed()
    conn.close()
    assert who.live() == 1

    assert ask(ng, 'k1').status == 200
    sums = who.audit(shared_keys=True)
    assert sums['charged'] == cost(10, 5)
    assert sums['expired'] == 0
    assert sums['committed'] == sums['reserved']


@BOTH
def test_key_that_is_too_long(start, provider, kind):
    ng, who = start(kind)
    assert ask(ng, 'k' * 257).status == 400
    assert ask(ng, 'k' * 256).status == 200
    assert len(provider.requests) == 1
