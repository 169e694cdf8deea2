# Copyright (C) nginx-cycles authors

"""What docs/operations.md promises an operator, done as an operator does it:
upgrade, quit and terminate, a full zone."""

import os
import signal

import pytest

import gateway
from gateway import Conn, Gate, STALL, chat, chat_stream, wait_until


def ledger(provider, *entries, **kw):
    entries = entries or (('tenant:acme', 10 ** 9),)
    return gateway.ledger_gateway(provider, *entries, **kw)


def stream_under_way(ng, provider):
    """A connection with a stream that waits in its middle, and its gate."""

    gate = Gate()
    provider.script(chat_stream(6, gates={3: gate}))
    conn = ng.connect()
    conn.send_chat(tenant='acme', stream=True)
    gate.wait_reached()
    return conn, gate


def test_upgrade_keeps_the_ledger(daemon, provider):
    ng = daemon(**ledger(provider))
    assert ng.chat(tenant='acme').status == 200
    conn, gate = stream_under_way(ng, provider)

    old, ng.pid = ng.pid, ng.upgrade()
    os.kill(old, signal.SIGWINCH)

    # both have the same budgets, and the same live reservation

    wait_until(lambda: not ng.workers(old))
    assert ng.live_reservations() == 1
    assert ng.chat(tenant='acme').status == 200
    assert ng.budget('tenant:acme')['spent'] == 2 * 450

    gate.open()
    assert conn.read_response().complete
    conn.close()

    ng.end(old)
    spent = 2 * 450 + 10 * 15 + 6 * 60
    assert ng.live_reservations() == 0
    assert ng.budget('tenant:acme')['spent'] == spent

    # a restart sees what both have written

    ng.end(ng.pid)
    ng.start()
    assert ng.budget('tenant:acme')['spent'] == spent


@pytest.mark.parametrize('how', ['quit', 'stop'])
def test_quit_settles_and_terminate_does_not(nginx, provider, how):
    ng = nginx(**ledger(provider, location='cycles_ttl 1s; '
                        'cycles_grace_period 0;'))
    conn, gate = stream_under_way(ng, provider)

    if how == 'stop':
        ng.stop()
        gate.open()
    else:
        ng.send_signal(signal.SIGQUIT)
        wait_until(lambda: not ng.workers())
        gate.open()
        assert conn.read_response().complete
        conn.close()
        ng._wait_end(None)

    ng.start()
    wait_until(lambda: ng.live_reservations() == 0)
    assert ng.budget('tenant:acme')['reserved'] == 0
    assert ng.budget('tenant:acme')['spent'] == (
        0 if how == 'stop' else 10 * 15 + 6 * 60)


def test_full_zone_denies_and_settles(nginx, provider):
    """A megabyte has room for about 3000 reservations; each of these holds
    one, until the provider answers all of them."""

    provider.default = STALL
    ng = nginx(allow=["can't take reservations"],
               **ledger(provider, ledger=' zone=1m', location='''
                   cycles_estimate 1;
                   cycles_actual estimate;
                   cycles_action test hold;
                   cycles_on_abort estimate;'''))

    data = gateway.build_request('POST', '/', {'X-Tenant': 'acme'}, b'{}')
    conns = []

    try:
        refused = None
        while refused is None and len(conns) < 4000:
            for _ in range(100):
                conn = Conn(ng.port)
                conn.send(data)
                conns.append(conn)
            wait_until(lambda: ng.live_reservations() >= len(conns)
                       or ng.errors('crit'))
            if ng.errors('crit'):
                refused = ng.post('/', b'{}', {'X-Tenant': 'acme'})

        live = ng.live_reservations()
        assert 2900 < live < 3600
        assert refused.status == 503
        assert refused.json['error']['code'] == 'budget_unavailable'
        assert refused.header('X-Cycles-Decision') == 'OUTAGE_DENY'

        ng.wait_error_log('"main" can.t take reservations: the zone of')
        assert ng.budget('tenant:acme')['reserved'] == live
    finally:
        for conn in conns:
            conn.reset()

    # the provider had them, so none of them is free

    wait_until(lambda: ng.live_reservations() == 0)
    assert ng.budget('tenant:acme')['spent'] == live

    provider.default = chat()
    assert ng.post('/', b'{}', {'X-Tenant': 'acme'}).status == 200
    assert ng.budget('tenant:acme')['spent'] == live + 1
