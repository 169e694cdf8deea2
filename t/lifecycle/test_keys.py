# Copyright (C) nginx-cycles authors

"""cycles_idempotency_key: the key of a reserve is the client's.  A provider
that is asked twice is paid twice, so however the requests of one key meet, no
two of them have one reservation."""

import re

import pytest

import gateway
from gateway import (Conn, Gate, build_request, chat, chat_request,
                     wait_until)
from authorities import OUTPUT, authority, cost
from raw import stampede


UUID = '[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}'


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
    assert re.fullmatch(UUID, reserve.json['metadata']['key_use'])
    assert commit.json['idempotency_key'] != 'order 66/a"b'
    who.audit()


def test_metadata_stays_with_a_key(start):
    ng, who = start('cycles', KEYED + 'cycles_metadata a $http_x_a;'
                                      'cycles_metadata b c;')
    for a, rest in ('', {'b': 'c'}), ('x"y', {'a': 'x"y', 'b': 'c'}):
        assert ng.chat(tenant='acme', headers={
            'Idempotency-Key': 'k' + a[:1], 'X-A': a}).status == 200
        metadata = who.cycles.log('reserve')[-1].json['metadata']
        del metadata['key_use']
        assert metadata == rest

    # without a key there is none

    assert ng.chat(tenant='acme').status == 200
    assert who.cycles.log('reserve')[-1].json['metadata'] == {'b': 'c'}
    who.audit()


def test_lost_answer_of_a_keyed_reserve(start):
    """Our own second try is the same call to the byte, and no other use."""

    ng, who = start('cycles')
    who.cycles.fault('reserve', 'drop_after')
    assert ask(ng, 'k1').status == 200
    bodies = {e.body for e in who.cycles.log('reserve')}
    assert len(bodies) == 1
    assert who.audit()['charged'] == cost(10, 5)
    assert who.cycles.state()['replays'] > 0


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
    assert who.audit(mismatches=2, shared_keys=True)['charged'] == (
        3 * cost(10, 5))


@BOTH
def test_same_key_behind_a_release(start, provider, kind):
    """The provider failed, the client tries again with its key."""

    ng, who = start(kind)
    provider.script(gateway.error(500))
    assert ask(ng, 'k1').status == 500
    who.settled()
    assert ask(ng, 'k1').status == 200
    sums = who.audit(mismatches=1, shared_keys=True)
    assert sums['charged'] == cost(10, 5)
    assert sums['released'] * 2 == sums['reserved']


@BOTH
def test_same_key_at_the_same_time(start, provider, kind):
    """Each has its own hold."""

    gates = [Gate(), Gate()]
    ng, who = start(kind)
    provider.script(chat(prompt=7, gate=gates[0]),
                    chat(prompt=9, gate=gates[1]))
    conns = []
    for gate in gates:
        conns.append(open_request(ng, 'k1'))
        gate.wait_reached()

    assert who.live() == 2

    for gate, conn in zip(gates, conns):
        gate.open()
        r = conn.read_response()
        assert r.status == 200
        conn.close()

    sums = who.audit(mismatches=1, shared_keys=True)
    assert sums['charged'] == cost(7, 5) + cost(9, 5)
    assert sums['committed'] == sums['reserved']


@BOTH
def test_a_crowd_of_one_key(start, provider, kind):
    """A key is no way around the budget: exactly as many are admitted as are
    paid for."""

    ng, who = start(kind, KEYED + '''
        cycles_estimate 1000;
        cycles_actual 1000;
        cycles_timeout 60s;
    ''', scopes={'tenant:acme': 20 * 1000 + 999}, workers=4)

    path, headers, body = chat_request(tenant='acme', headers={
        'Idempotency-Key': 'k1', 'Connection': 'close'})
    statuses = stampede(ng.port, [build_request('POST', path, headers,
                                                body)] * 300)
    assert statuses.count(200) == 20
    assert statuses.count(429) == 280
    assert len(provider.requests) == 20

    who.settled()
    assert spent(who) == 20 * 1000
    assert who.budget('tenant:acme')['remaining'] == 999


@BOTH
def test_one_of_two_leaves(start, provider, kind):
    """What the first settles is its own."""

    gates = [Gate(), Gate()]
    ng, who = start(kind, KEYED + 'cycles_on_abort estimate;')
    provider.script(chat(gate=gates[0]), chat(prompt=9, gate=gates[1]))
    conns = []
    for gate in gates:
        conns.append(open_request(ng, 'k1', max_tokens=100))
        gate.wait_reached()

    prompt = who.budget('tenant:acme')['reserved'] // 2 - 100 * OUTPUT
    conns[0].reset()
    wait_until(lambda: who.live() == 1)
    assert spent(who) == prompt               # the provider took the request

    gates[1].open()
    assert conns[1].read_response().status == 200
    conns[1].close()
    gates[0].open()
    sums = who.audit(mismatches=1, shared_keys=True)
    assert sums['charged'] == prompt + cost(9, 5)


def test_client_that_tries_again_during_its_reserve(start, provider):
    """The reserve of the request that was given up is answered last and gives
    back nothing of the other one's."""

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
    who.cycles.wait(lambda: who.cycles.log('reserve')[0].status == 409)

    gate.open()
    assert second.read_response().status == 200
    second.close()
    who.wait_story('acme', 'reserve', 'reserve', 'commit')
    sums = who.audit(mismatches=1, shared_keys=True)
    assert sums['charged'] == cost(9, 5)


@BOTH
def test_same_key_for_another_request(start, provider, kind):
    """Also while the first one is running."""

    gate = Gate()
    ng, who = start(kind)
    provider.script(chat(gate=gate))
    conn = open_request(ng, 'k1')
    gate.wait_reached()
    r = ask(ng, 'k1', content='Something else, and longer than before.')
    assert r.status == 200
    assert r.header('x-cycles-decision') == 'ALLOW'
    gate.open()
    assert conn.read_response().status == 200
    conn.close()
    sums = who.audit(mismatches=1, shared_keys=True)
    assert sums['charged'] == 2 * cost(10, 5)


@BOTH
def test_dry_run_with_a_key(start, provider, kind):
    ng, who = start(kind, server='''
        location /dry/ {
            cycles dry_run;
            cycles_subject tenant $http_x_tenant;
            cycles_authority %s;
            cycles_api_key k;
            cycles_idempotency_key $http_idempotency_key;
            proxy_pass http://provider;
        }
    ''' % ('ledger=main' if kind == 'ledger' else '@cycles'))
    assert ask(ng, 'k1').status == 200
    for _ in range(2):
        r = ask(ng, 'k1', path='/dry/')
        assert r.status == 200
        assert r.header('x-cycles-dry-run') == 'ALLOW'
    who.settled()
    assert spent(who) == cost(10, 5)


def test_server_that_compares_no_payloads(start, provider):
    """Its answer to a key that is settled gives no hold."""

    ng, who = start('cycles')
    assert ask(ng, 'k1').status == 200
    who.settled()
    old, = who.cycles.state()['reservations']
    who.cycles.fault('reserve', {'apply': 0, 'status': 200, 'body': {
        'decision': 'ALLOW', 'reservation_id': old['id'],
        'affected_scopes': ['tenant:acme'], 'scope_path': 'tenant:acme',
        'expires_at_ms': 1700000000000, 'remaining_ttl_ms': 0}})
    assert ask(ng, 'k1').status == 200
    who.settled()
    assert spent(who) == 2 * cost(10, 5)


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
    """A worker that dies has not settled: what it held ends with its lease,
    the client's next try has a hold of its own."""

    gate = Gate()
    ng, who = start(kind, KEYED + 'cycles_ttl 1s; cycles_grace_period 0;',
                    workers=1)
    provider.script(chat(gate=gate))
    conn = open_request(ng, 'k1')
    gate.wait_reached()
    pid, = ng.workers()
    ng.kill_worker(pid)
    ng.wait_workers([pid])
    conn.wait_closed()
    conn.close()

    assert ask(ng, 'k1').status == 200
    sums = who.audit(mismatches=1, shared_keys=True)
    assert sums['charged'] == cost(10, 5)
    assert sums['committed'] * 2 == sums['expired'] * 2 == sums['reserved']


@BOTH
def test_key_that_is_too_long(start, provider, kind):
    ng, who = start(kind)
    assert ask(ng, 'k' * 257).status == 400
    assert ask(ng, 'k' * 256).status == 200
    assert len(provider.requests) == 1
