# Copyright (C) nginx-cycles authors

"""A disk that takes its time or fails: an answer that waits for it, as all do
with sync=always, is given in the end, whatever happens to nginx or the client
meanwhile, and nothing that waited is left behind."""

import hashlib
import json
import os
import signal
import subprocess

import pytest

from gateway import budgets, chat, process_title, wait_until
from authorities import Ledger, cost


BUDGET = 10 ** 10


@pytest.fixture
def start(nginx, provider, disk):
    def begin(server='', **kw):
        who = Ledger({'tenant:acme': BUDGET}, 'sync=always')
        ng = nginx(env=disk.env(), **who.gateway(provider, server=server,
                                                 **kw))
        who.attach(ng)

        # what the start has written does not count

        wait_until(lambda: main(ng)['synced'] == main(ng)['records'])
        return ng, who

    return begin


def main(ng):
    return ng.status()['ledgers']['main']


def send(ng, **members):
    conn = ng.connect()
    conn.send_chat(tenant='acme', **members)
    return conn


def quitting(ng):
    """Has nginx end; returns once it does not listen any more."""

    workers = ng.workers()
    os.kill(ng.master, signal.SIGQUIT)

    def refuses():
        try:
            ng.connect().close()
        except OSError:
            return True
        return False

    wait_until(refuses)
    return workers


def ended(ng):
    assert ng._wait_end(None) == 0
    assert 'exited on signal' not in ng.error_log()
    ng.check()


def test_quit_while_a_reserve_waits(start, provider, disk):
    """The client is served: nothing but the disk would have kept the worker
    from going."""

    ng, who = start()
    disk.hold()
    conn = send(ng)
    who.wait_story('acme', 'reserve')
    workers = quitting(ng)
    assert provider.requests == []
    disk.go()
    assert conn.read_response().status == 200
    conn.close()
    ended(ng)
    assert not any(process_title(pid) for pid in workers)
    ng.start()
    assert who.audit()['charged'] == cost(10, 5)


def test_quit_while_a_commit_waits(start, provider, disk):
    """The client has its reply and has gone, the settlement is not answered
    yet: its worker waits, and leaves no memory behind."""

    ng, who = start()
    provider.script(lambda rq: (disk.hold(), chat()(rq))[1])
    conn = send(ng)
    assert conn.read_response().status == 200
    conn.close()
    who.wait_story('acme', 'reserve', 'commit')
    quitting(ng)
    with pytest.raises(subprocess.TimeoutExpired):
        ng.process.wait(0.2)
    disk.go()
    ended(ng)
    ng.start()
    assert who.audit()['charged'] == cost(10, 5)


@pytest.mark.parametrize('how', ['go', 'fail'])
def test_client_leaves_while_its_reserve_waits(start, provider, disk, how):
    ng, who = start()
    disk.hold()
    conn = send(ng)
    who.wait_story('acme', 'reserve')
    conn.reset()
    who.wait_story('acme', 'reserve', 'release')
    ng.wait_access_log(1)
    assert ng.access_log()[0]['status'] == '499'
    quitting(ng)
    if how == 'fail':
        ng.allow.append('could not be synced')
        disk.fail()
    disk.go()
    ended(ng)
    assert provider.requests == []


def test_client_leaves_while_its_commit_waits(start, provider, disk):
    ng, who = start()
    provider.script(lambda rq: (disk.hold(), chat()(rq))[1])
    conn = send(ng)
    assert conn.read_response().status == 200
    conn.reset()
    who.wait_story('acme', 'reserve', 'commit')
    disk.go()
    wait_until(lambda: main(ng)['synced'] == main(ng)['records'])
    assert ng.quit() == 0
    ng.check()


def test_disk_that_fails(start, provider, disk):
    """What may be lost was not reserved: 503, and the hold is given back."""

    ng, who = start()
    ng.allow.append('could not be synced')
    disk.hold()
    conn = send(ng)
    who.wait_story('acme', 'reserve')
    disk.fail()
    disk.go()
    assert conn.read_response().status == 503
    conn.close()
    who.wait_story('acme', 'reserve', 'release')
    assert provider.requests == []
    assert who.live() == 0


def test_reload_while_answers_wait(start, provider, disk):
    """Old workers and new ones wait for the same disk."""

    ng, who = start()
    disk.hold()
    first = send(ng)
    who.wait_story('acme', 'reserve')
    ng.reload()
    second = send(ng)
    who.wait_story('acme', 'reserve', 'reserve')
    disk.go()
    for conn in first, second:
        assert conn.read_response().status == 200
        conn.close()
    sums = who.audit()
    assert sums['charged'] == 2 * cost(10, 5)
    assert sums['released'] + sums['committed'] == sums['reserved']


@pytest.fixture
def api(start):
    digest = hashlib.sha256(b'secret').hexdigest()
    ng, who = start(
        server='location /api/ { cycles_api ledger=main; }',
        files={'budgets.json': budgets(
            ('tenant:acme', BUDGET), tenants=['acme'], api_keys=[
                {'tenant_id': 'acme', 'name': 'k', 'secret_sha256': digest}])})
    body = json.dumps({
        'idempotency_key': 'k', 'subject': {'tenant': 'acme'},
        'action': {'kind': 'a', 'name': 'b'}, 'ttl_ms': 1000,
        'estimate': {'unit': 'USD_MICROCENTS', 'amount': 5}}).encode()

    def call(method, path):
        conn = ng.connect()
        conn.send_request(method, '/api/v1/reservations' + path,
                          {'Content-Type': 'application/json',
                           'X-Cycles-API-Key': 'secret'},
                          body if method == 'POST' else None)
        return conn

    return ng, who, call


def test_quit_while_an_answer_of_the_api_waits(api, disk):
    ng, who, call = api
    disk.hold()
    conn = call('POST', '')
    who.wait_story('acme', 'reserve')
    quitting(ng)
    disk.go()
    r = conn.read_response()
    assert r.status == 200 and r.json['decision'] == 'ALLOW', r.body
    conn.close()
    ended(ng)


@pytest.mark.parametrize('leaves', [False, True], ids=['stays', 'leaves'])
def test_quit_while_the_log_is_read(api, disk, leaves):
    ng, who, call = api
    with call('POST', '') as conn:
        id = conn.read_response().json['reservation_id']
    disk.hold('.read')
    conn = call('GET', '/' + id)
    disk.wait_reached('.read')
    if leaves:
        conn.reset()
    quitting(ng)
    with pytest.raises(subprocess.TimeoutExpired):
        ng.process.wait(0.2)
    disk.go()
    if not leaves:
        r = conn.read_response()
        assert r.status == 200 and r.json['reservation_id'] == id, r.body
        conn.close()
    ended(ng)
