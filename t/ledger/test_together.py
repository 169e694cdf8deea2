# Copyright (C) nginx-cycles authors

"""Reserves, and settlements of replies in one piece, are one write to the log
for all of a turn of the event loop.  All of them are there or none, no request
goes on before its reservation is, and no client has the end of its reply
before its settlement is."""

import os
import signal
import time

import pytest

from gateway import (Gate, HarnessError, build_request, chat, chat_request,
                     chat_stream, wait_until)
from authorities import Ledger, cost
from raw import H2Conn


TENANTS = ('acme', 'bolt', 'crow')
BUDGET = 10 ** 10


@pytest.fixture
def start(nginx, disk):
    def begin(provider, options='', location='', **kw):
        who = Ledger({'tenant:' + name: BUDGET for name in TENANTS}, options)
        ng = nginx(env=disk.env(), workers=1,
                   **who.gateway(provider, location=location, **kw))
        who.attach(ng)
        return ng, who

    return begin


def stop(pid):
    """Until it stands, it may still do something."""

    def stands():
        with open('/proc/%d/stat' % pid) as file:
            return file.read().rpartition(')')[2].split()[0] == 'T'

    os.kill(pid, signal.SIGSTOP)
    wait_until(stands, what='a process that stands')


class Turn:
    """A request of each tenant, whose replies come while the worker sleeps:
    it finds all of them in one turn."""

    def __init__(self, ng, provider, make=chat, **members):
        self.ng = ng
        self.provider = provider
        gate = Gate()
        provider.default = make(gate=gate)
        self.conns = []
        for n, name in enumerate(TENANTS):
            conn = ng.connect()
            conn.send_chat(tenant=name, **members)
            self.conns.append(conn)
            provider.wait_requests(n + 1)

        self.pid = ng.workers()[0]
        stop(self.pid)
        gate.open()
        for rq in provider.requests:
            assert rq.finished.wait(20)

    def go(self):
        os.kill(self.pid, signal.SIGCONT)

    def replies(self):
        found = [conn.read_response() for conn in self.conns]
        for conn in self.conns:
            conn.close()
        return found

    def settlements(self):
        lines = self.ng.wait_access_log(len(TENANTS))
        return sorted((line['cycles_settlement'], line['cycles_charged'])
                      for line in lines)


def kinds(who):
    return [rec.kind for rec in who.records() if rec.kind in (
        'reserve', 'commit', 'release', 'event', 'expire')]


@pytest.mark.parametrize('make, writes', [(chat, 1), (chat_stream, 3)])
@pytest.mark.parametrize('buffering', ['on', 'off'])
@pytest.mark.parametrize('sync', ['interval', 'always'])
def test_one_write(start, provider, disk, make, writes, buffering, sync):
    """Streams have many buffers that would have to be looked at again."""

    ng, who = start(provider, 'sync=' + sync,
                    'proxy_buffering %s;' % buffering)
    turn = Turn(ng, provider, make, stream=make is chat_stream)
    disk.count_writes()
    turn.go()
    for reply in turn.replies():
        assert reply.status == 200 and reply.complete
    assert len(disk.writes()) == writes
    assert kinds(who) == 3 * ['reserve'] + 3 * ['commit']

    # it was done before the requests have ended

    if sync == 'interval':
        assert turn.settlements() == 3 * [('commit', str(cost(10, 5)))]

    assert who.audit()['charged'] == 3 * cost(10, 5)
    for name in TENANTS:
        assert ng.budget('tenant:' + name)['spent'] == cost(10, 5)


def test_requests_go_on_with_their_connections(start, provider, disk):
    """The end of a reply is held back once, and not for the next one."""

    ng, who = start(provider)
    turn = Turn(ng, provider)
    turn.go()
    for conn in turn.conns:
        assert conn.read_response().status == 200

    provider.default = chat()
    for n in range(3):
        for name, conn in zip(TENANTS, turn.conns):
            conn.send_chat(tenant=name)
            reply = conn.read_response()
            assert reply.status == 200 and reply.complete
    for conn in turn.conns:
        conn.close()
    assert who.audit()['charged'] == 12 * cost(10, 5)


def test_a_write_fails(start, provider, disk):
    """None has happened; each is tried again until there is space, and
    clients do not wait for that."""

    ng, who = start(provider)
    ng.allow.append('can.t be settled yet')
    turn = Turn(ng, provider)
    disk.fail('.full')
    turn.go()
    for reply in turn.replies():
        assert reply.status == 200 and reply.complete
    assert turn.settlements() == 3 * [('pending', '')]
    assert kinds(who) == 3 * ['reserve']
    log = ng.error_log()
    assert log.count('reading the log of ledger') == 1
    assert log.count('can\'t be settled yet') == 3
    assert ng.live_reservations() == 3
    for name in TENANTS:
        assert ng.budget('tenant:' + name)['spent'] == 0

    disk.mend('.full')
    wait_until(lambda: sorted(kinds(who)) == 3 * ['commit'] + 3 * ['reserve'])
    assert who.audit()['charged'] == 3 * cost(10, 5)


def test_killed_before_the_write(start, provider, disk):
    """Nobody has been told of what is lost."""

    ng, who = start(provider, location='cycles_ttl 1s; '
                                       'cycles_grace_period 0;')
    turn = Turn(ng, provider)
    ng.allow.append('worker process %d exited on signal' % turn.pid)
    disk.hold('.kill')
    turn.go()
    for conn in turn.conns:
        with pytest.raises((HarnessError, OSError)):
            assert not conn.read_response().complete
            raise OSError
        conn.close()
    disk.mend('.kill')
    ng.wait_workers([turn.pid])
    wait_until(lambda: ng.live_reservations() == 0)
    assert 'commit' not in kinds(who)
    assert who.audit()['charged'] == 0
    assert 'reading the log again' in ng.error_log()

    provider.default = chat()
    assert ng.chat(tenant='acme').status == 200
    assert who.audit()['charged'] == cost(10, 5)


def test_a_client_leaves_meanwhile(start, provider, disk):
    """Its reply had come: what it cost is settled."""

    ng, who = start(provider)
    turn = Turn(ng, provider)
    for conn in turn.conns:
        conn.reset()
    turn.go()
    who.settled()
    assert who.audit()['charged'] == 3 * cost(10, 5)


def test_quit_meanwhile(start, provider, disk):
    ng, who = start(provider)
    turn = Turn(ng, provider)
    os.kill(ng.master, signal.SIGQUIT)
    turn.go()
    for reply in turn.replies():
        assert reply.status == 200 and reply.complete
    assert ng._wait_end(None) == 0
    ng.check()
    assert kinds(who) == 3 * ['reserve'] + 3 * ['commit']


def test_limit_rate(start, provider, disk):
    """Somebody else delays the reply: it is none of our business."""

    ng, who = start(provider, location='limit_rate 100k;')
    turn = Turn(ng, provider)
    turn.go()
    for reply in turn.replies():
        assert reply.status == 200 and reply.complete
    assert who.audit()['charged'] == 3 * cost(10, 5)


class Arrivals:
    """A request of each tenant, all of which the worker finds in one turn."""

    def __init__(self, ng, provider):
        self.pid = ng.workers()[0]
        provider.default = chat()
        self.conns = [ng.connect() for name in TENANTS]

        # the connections are accepted, and used

        for name, conn in zip(TENANTS, self.conns):
            conn.send_chat(tenant=name)
            assert conn.read_response().status == 200

        stop(self.pid)
        for name, conn in zip(TENANTS, self.conns):
            conn.send_chat(tenant=name)

    def go(self):
        os.kill(self.pid, signal.SIGCONT)


def test_reserves_are_one_write(start, provider, disk):
    ng, who = start(provider)
    arrivals = Arrivals(ng, provider)
    disk.count_writes()
    gate = Gate()
    provider.default = chat(gate=gate)
    arrivals.go()
    provider.wait_requests(6)
    assert len(disk.writes()) == 1
    assert kinds(who)[-3:] == 3 * ['reserve']
    gate.open()
    for conn in arrivals.conns:
        assert conn.read_response().status == 200
        conn.close()
    assert who.audit()['charged'] == 6 * cost(10, 5)


def test_reserves_that_can_t_be_written(start, provider, disk):
    """None has happened, and all are told."""

    ng, who = start(provider)
    ng.allow.append("can't take reservations")
    arrivals = Arrivals(ng, provider)
    disk.fail('.full')
    arrivals.go()
    for conn in arrivals.conns:
        assert conn.read_response().status == 503
        conn.close()
    assert len(provider.requests) == 3
    assert kinds(who) == 3 * ['reserve', 'commit']
    disk.mend('.full')
    for name in TENANTS:
        assert ng.chat(tenant=name).status == 200
    assert who.audit()['charged'] == 6 * cost(10, 5)


def test_killed_before_reserves_are_written(start, provider, disk):
    ng, who = start(provider)
    arrivals = Arrivals(ng, provider)
    ng.allow.append('worker process %d exited on signal' % arrivals.pid)
    disk.hold('.kill')
    arrivals.go()
    for conn in arrivals.conns:
        assert conn.wait_closed()
        conn.close()
    disk.mend('.kill')
    ng.wait_workers([arrivals.pid])
    assert len(provider.requests) == 3
    assert ng.live_reservations() == 0
    assert who.audit()['charged'] == 3 * cost(10, 5)


def test_clients_leave_with_their_requests(start, provider, disk):
    """Nothing was held for them yet, or it is given back."""

    ng, who = start(provider)
    arrivals = Arrivals(ng, provider)
    for conn in arrivals.conns:
        conn.reset()
    arrivals.go()
    ng.wait_access_log(6)
    who.settled()
    state = who.audit()
    assert state['charged'] >= 3 * cost(10, 5)


def test_the_last_moment(start, provider, disk):
    """A request is read in the turn in which the worker has no more time:
    its reserve has no end of that turn to wait for."""

    ng, who = start(provider, main='worker_shutdown_timeout 500ms;')
    path, headers, body = chat_request(
        tenant='acme', headers={'Expect': '100-continue'})
    data = build_request('POST', path, headers, body)
    first, last = conns = [ng.connect() for n in range(2)]
    for conn in conns:
        conn.send(data[:-len(body)])
        conn.read_until(b'100 Continue\r\n\r\n')

    disk.hold('.write')
    os.kill(ng.master, signal.SIGQUIT)
    wait_until(lambda: not ng.workers(), what='a worker that is to quit')
    end = time.monotonic() + 0.6
    first.send(body)
    disk.wait_reached('.write')
    last.send(body)
    wait_until(lambda: time.monotonic() > end)
    disk.go()

    assert ng._wait_end(None) == 0
    ng.check()
    assert kinds(who).count('reserve') == 1
    for conn in conns:
        conn.close()


def test_a_stream_that_is_reset_at_once(start, provider, disk):
    """The client's request and its end are read together: nothing is
    reserved."""

    ng, who = start(provider, h2=True)
    with H2Conn(ng.h2_port) as conn:
        stop(ng.workers()[0])
        for name in TENANTS:
            path, headers, body = chat_request(tenant=name)
            conn.reset(conn.request('POST', path, headers, body))
        os.kill(ng.workers()[0], signal.SIGCONT)
        ng.wait_access_log(3)
    assert ng.chat(tenant='acme').status == 200
    assert kinds(who) == ['reserve', 'commit']
    assert who.audit()['charged'] == cost(10, 5)
