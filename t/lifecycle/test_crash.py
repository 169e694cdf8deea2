# Copyright (C) nginx-cycles authors

"""kill -9 under load, of one worker or of all of nginx, again and again: the
ledger that a start finds is the ledger that was left.

CRASH_ROUNDS (50, of each way) and CRASH_SEED choose how often and when.
"""

import os
import random
import threading
import uuid

import pytest

import ledger_log
from gateway import (Conn, Gate, Nginx, SCALE, build_request, chat_request,
                     chat_stream, wait_until)
from authorities import Ledger, check_balance, cost


ROUNDS = int(os.environ.get('CRASH_ROUNDS') or (50 if SCALE == 1 else 20))
SEED = int(os.environ.get('CRASH_SEED') or 20251122)

TENANTS = 8
BUDGET = 10 ** 12


class Load:
    """Threads that ask, plain and streaming, as long as the test wants; a
    connection that breaks is what they are for."""

    def __init__(self, ng, threads=6):
        self.ng = ng
        self.stopping = threading.Event()
        self.answered = 0
        self.threads = [threading.Thread(target=self.run, args=(n,))
                        for n in range(threads)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *exc):
        self.stopping.set()
        for thread in self.threads:
            thread.join()

    def run(self, number):
        rnd = random.Random(SEED * 1000 + number)
        while not self.stopping.is_set():
            try:
                self.ask(rnd)
            except (OSError, AssertionError):
                self.stopping.wait(0.002)

    def ask(self, rnd):
        with Conn(self.ng.port) as conn:
            while not self.stopping.is_set():
                path, headers, body = chat_request(
                    tenant='t%d' % rnd.randrange(TENANTS),
                    headers={'X-Workspace': 'w%d' % rnd.randrange(3)},
                    stream=rnd.random() < 0.5, max_tokens=100)
                conn.send(build_request('POST', path, headers, body))
                if not conn.read_response().complete:
                    return
                self.answered += 1


def check_everything(who, known):
    """What a start found; returns the state that follows from the log."""

    lines = who.ng.access_log()               # first: it is behind the log
    state = ledger_log.State(who.records())
    assert state.problems == []

    # what an earlier look has seen is still there

    for id, item in known.items():
        assert state.reservations[id]['estimate'] == item['estimate']
        if item['status'] != 'ACTIVE':
            assert state.reservations[id]['status'] == item['status']
            assert state.reservations[id]['charged'] == item['charged']

    known.update(state.reservations)

    # nothing that a client or the access log was told about is lost

    for line in lines:
        if line['cycles_settlement'] == 'commit':
            item = state.reservations[line['cycles_reservation_id']]
            assert item['status'] == 'COMMITTED'
            assert item['charged'] == int(line['cycles_charged'])

    return state


def balances_follow(who):
    """Balances that are shown are those of the log, at a moment without
    traffic."""

    def same():
        shown = who.ng.all_budgets()
        says = ledger_log.State(who.records()).budgets
        for scope, flat in shown.items():
            check_balance(flat)
        return all(shown[scope][name] == says[scope][name]
                   for scope in says
                   for name in ('allocated', 'reserved', 'spent', 'debt'))

    wait_until(same, what='balances that follow from the log')


def scopes():
    found = {}
    for n in range(TENANTS):
        found['tenant:t%d' % n] = BUDGET
        for m in range(2):
            found['tenant:t%d/workspace:w%d' % (n, m)] = BUDGET // 10
    return found


@pytest.mark.parametrize('what', ['worker', 'all'])
def test_kill_under_load(provider, what):
    rnd = random.Random(SEED)
    known = {}

    # nothing of the log is removed: it is compared as a whole

    with Ledger(scopes(), 'segment=1024m') as who:
        ng = Nginx(workers=3, **who.gateway(
            provider, location='cycles_ttl 1s; cycles_grace_period 0;'))
        who.attach(ng)

        try:
            ng.start()
            with Load(ng) as load:
                for _ in range(ROUNDS):
                    wanted = load.answered + rnd.randrange(1, 60)
                    wait_until(lambda: load.answered >= wanted)

                    if what == 'all':
                        ng.kill9()
                        check_everything(who, known)
                        ng.start()
                    else:
                        pid = rnd.choice(ng.workers())
                        ng.kill_worker(pid)
                        ng.wait_workers([pid])

                    for flat in ng.all_budgets().values():
                        check_balance(flat)

                    check_everything(who, known)

            balances_follow(who)

            # leases of the dead end with their time: ttl 1 s, no grace

            state = check_everything(who, known)
            sums = who.audit()
            assert sums['charged'] == sum(
                ng.budget('tenant:t%d' % n)['spent'] for n in range(TENANTS))
            assert sums['reserved'] > 0
            assert len(state.reservations) == len(known)

            ng.stop()
            ng.check()
        finally:
            ng.close()


@pytest.mark.parametrize('what', ['worker', 'all'])
def test_leases_of_the_dead(nginx, provider, what):
    """Streams that die with their worker hold their money until ttl and
    grace have passed, not longer, and were never charged."""

    gates = [Gate() for _ in range(5)]
    with Ledger({'tenant:acme': BUDGET}) as who:
        ng = who.attach(nginx(workers=1, **who.gateway(
            provider, location='cycles_ttl 1s; cycles_grace_period 0;')))

        conns = []
        for gate in gates:
            provider.script(chat_stream(8, gates={3: gate}))
            conn = Conn(ng.port)
            conn.send_chat(tenant='acme', stream=True, max_tokens=100)
            conn.read_until(b'word ')
            conns.append(conn)

        held = who.budget('tenant:acme')['reserved']
        assert held > 0 and who.live() == 5

        if what == 'all':
            ng.kill9()
            ng.start()
        else:
            pid, = ng.workers()
            ng.kill_worker(pid)
            ng.wait_workers([pid])

        for conn in conns:
            conn.wait_closed()
            conn.close()

        who.settled(timeout=10)
        ends = {}
        expired = []
        for rec in who.records():
            if rec.kind in ('reserve', 'extend'):
                ends[rec.id] = rec.expires_at_ms
            elif rec.kind == 'expire':
                expired += [(id, rec.time) for id in rec.ids]

        assert len(expired) == len(dict(expired)) == 5
        for id, when in expired:
            assert ends[id] <= when <= ends[id] + 5000 * SCALE

        budget = who.budget('tenant:acme')
        assert budget['remaining'] == BUDGET
        assert budget['spent'] == 0
        assert who.audit()['expired'] == held


def test_a_torn_tail_is_cut(nginx, provider):
    """The last record of a log that ends in the middle of it never was."""

    with Ledger({'tenant:acme': BUDGET}) as who:
        ng = who.attach(nginx(**who.gateway(provider)))
        for _ in range(3):
            assert ng.chat(tenant='acme', max_tokens=100).status == 200
        who.settled()
        spent = who.budget('tenant:acme')['spent']
        assert spent == 3 * cost(10, 5)
        ng.stop()

        assert who.records()[-1].kind == 'commit'
        name, end = who.log.tail()
        os.truncate(name, end - 7)

        ng.start()
        assert ng.wait_error_log('torn|cut')
        budget = who.budget('tenant:acme')
        assert budget['spent'] == 2 * cost(10, 5)
        assert budget['reserved'] > 0
        ng.allow.append('cut')

        # and it goes on from there

        assert ng.chat(tenant='acme', max_tokens=100).status == 200
        wait_until(lambda: who.budget('tenant:acme')['spent'] == spent)


def test_a_damaged_log_is_not_used(nginx, provider):
    """A bad record with good ones behind it is no torn tail."""

    with Ledger({'tenant:acme': BUDGET}) as who:
        ng = who.attach(nginx(**who.gateway(provider)))
        for _ in range(5):
            assert ng.chat(tenant='acme').status == 200
        who.settled()
        ng.stop()

        first = next(r for r in who.records() if r.kind == 'reserve')
        name, _ = who.log.tail()
        with open(name, 'r+b') as file:
            data = file.read()
            at = data.index(uuid.UUID(first.id).bytes)
            file.seek(at)
            file.write(b'#')

        # nginx leaves its memory to the system when it does not start

        ng.env['ASAN_OPTIONS'] = ng._environ(leaks=False)['ASAN_OPTIONS']
        ng.allow.append('damaged|checksum')
        with pytest.raises(AssertionError, match='did not start'):
            ng.start()
        assert 'log-' in ng._output()
