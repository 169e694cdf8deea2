# Copyright (C) nginx-cycles authors

"""Everything fails at once: clients that leave at any byte, a provider and an
authority that do the worst or are not there, while nginx is reloaded, killed
in part or as a whole, or told to quit and started again.  In the end each
reservation was settled once, whoever got a whole reply has paid for it,
nothing is held, and the journal is empty.

FAULTS_REQUESTS (240) and FAULTS_SEED choose how many and which; "make
campaign" runs ten thousand.
"""

import collections
import os
import random
import threading
import time

import pytest

import gateway
from gateway import Conn, HarnessError, build_request, chat_request, wait_until
from authorities import authority, cost
from journal import Journal
from test_campaign import Misfortune


REQUESTS = int(os.environ.get('FAULTS_REQUESTS') or 240)
SEED = int(os.environ.get('FAULTS_SEED') or 20261125)

TENANTS = 5
CLIENTS = 8

# requests from one strike to the next

BETWEEN = min(REQUESTS // 12, 60)

# a turn of the disk: a reply may end so much before its record is there

WINDOW = 0.1 * gateway.SCALE

SETTLE = ('drop_before', 'drop_after', 'reset_before', 'reset_after',
          'internal', 'unavailable', 'malformed', 'truncated', 'wrong_2xx',
          'duplicate', 'never_after', 'never_before', 'not_json', 'throttled',
          'unauthorized', 'expired', {'delay': 0.2})

RESERVE = SETTLE[:-2] + ({'apply': 0, 'status': 409, 'body': {
    'error': 'BUDGET_EXCEEDED', 'message': 'no'}},)


class Seen:
    """A reply that a client has had as a whole."""

    def __init__(self, r):
        self.id = r.header('X-Cycles-Reservation-Id')
        self.decision = r.header('X-Cycles-Decision')
        self.time = time.monotonic()


def connect(ng):
    """Once nginx listens again."""

    found = []

    def listens():
        try:
            found.append(Conn(ng.port, 20))
        except OSError:
            return False
        return True

    wait_until(listens, 60)
    return found[0]


def client(ng, number, n, seen):
    rnd = random.Random(SEED * 1000 + number)
    conn = None

    for _ in range(n):
        path, headers, body = chat_request(
            tenant='t%d' % rnd.randrange(TENANTS),
            stream=rnd.random() < 0.6, max_tokens=100)
        data = build_request('POST', path, headers, body)
        try:
            if conn is None:
                conn = connect(ng)
            if rnd.random() < 0.7:
                conn.send(data)
                r = conn.read_response()
                if r.status == 200 and r.complete and '"usage"' in r.text:
                    seen.append(Seen(r))
                if not r.complete or r.header('connection') == 'close':
                    conn.close()
                    conn = None
                continue

            conn.send(data[:rnd.randrange(1, len(data) + 1)]
                      if rnd.random() < 0.3 else data)
            conn.sock.settimeout(rnd.choice((0.001, 0.005, 0.02, 0.1)))
            for _ in range(rnd.randrange(4)):
                try:
                    if not conn.sock.recv(rnd.choice((1, 100, 4096))):
                        break
                except TimeoutError:
                    break
            (conn.reset if rnd.random() < 0.5 else conn.close)()
            conn = None
        except (OSError, HarnessError):
            conn = None

    if conn:
        conn.close()


class Trouble:
    """What befalls nginx and its neighbours, and when its processes were
    killed."""

    WHAT = 'reload', 'worker', 'all', 'quit', 'provider', 'authority'

    def __init__(self, ng, who, provider, rnd):
        self.ng = ng
        self.who = who
        self.provider = provider
        self.rnd = rnd
        self.kills = []
        self.strikes = collections.Counter()
        self.pause = threading.Event()
        ng.allow += [r'bind\(\) to 127.0.0.1:\d+ failed',
                     r'open socket #\d+ left in connection', r'aborting$']

    def strike(self):
        what = self.rnd.choice(self.WHAT if self.who.remote
                               else self.WHAT[:-1])
        self.strikes[what] += 1
        if what == 'provider':
            self.provider.refuse()
            self.pause.wait(0.1)
            self.provider.listen()
        elif what == 'authority':
            self.who.cycles.close()
            self.pause.wait(0.1)
            self.who.cycles.listen()
        elif what == 'reload':
            self.ng.reload()
        elif what == 'worker':
            old = self.ng.workers()
            self.kills.append(time.monotonic())
            self.ng.kill_worker(self.rnd.choice(old))
            self.ng.wait_workers()
        elif what == 'all':
            self.kills.append(time.monotonic())
            self.ng.kill9()
            self.ng.start()
        else:
            self.ng.quit(60)
            self.ng.start()

    def spared(self, seen):
        """Nobody was killed while it was on its way to the disk."""

        return not any(seen.time - 0.1 <= kill <= seen.time + WINDOW
                       for kill in self.kills)


@pytest.mark.parametrize('kind', ['ledger', 'cycles'])
def test_faults(nginx, provider, kind):
    provider.default = Misfortune(SEED)
    rnd = random.Random(SEED)
    scopes = {'tenant:t%d' % n: 10 ** 12 for n in range(TENANTS)}

    with authority(kind, scopes) as who:
        ng = who.attach(nginx(**who.gateway(provider, location='''
            proxy_buffering %s;
            proxy_read_timeout 200ms;
            cycles_timeout 300ms;
            cycles_ttl 3s;
            cycles_grace_period 0;
            cycles_breaker open=100ms;
            cycles_on_outage allow;
            cycles_drain timeout=500ms;
            cycles_retry attempts=3 initial=10ms max=50ms;
        ''' % rnd.choice(('on', 'off')), http='''
            cycles_journal path=%%DIR%%/journal replay=300ms flush_timeout=2s;
        ''')))
        journal = Journal(ng.path('journal'))

        if who.remote:
            for _ in range(REQUESTS // 5):
                who.cycles.fault('reserve', rnd.choice(RESERVE),
                                 skip=rnd.randrange(6))
                for op in 'commit', 'event':
                    who.cycles.fault(op, rnd.choice(SETTLE),
                                     skip=rnd.randrange(6))

        seen = []
        trouble = Trouble(ng, who, provider, rnd)
        threads = [threading.Thread(target=client, args=(
            ng, number, REQUESTS // CLIENTS, seen))
            for number in range(CLIENTS)]
        for thread in threads:
            thread.start()

        while any(thread.is_alive() for thread in threads):
            count = len(provider.requests)
            wait_until(lambda: len(provider.requests) >= count + BETWEEN
                       or not any(t.is_alive() for t in threads), 300)
            if any(thread.is_alive() for thread in threads):
                trouble.strike()
        for thread in threads:
            thread.join()
        assert trouble.strikes.total() >= 2

        if who.remote:
            who.cycles.clear_faults()
            who.cycles.release()
        journal.wait_empty(60)
        assert journal.files('*.corrupt') == []
        wait_until(lambda: who.live() == 0, 60, 'nothing live')

        check = who.check_sums()
        assert len(seen) > REQUESTS // 20
        if who.remote:
            check_server(who, trouble, seen)
        else:
            check_ledger(who, seen)
        print('# seed %d: %d requests at the provider, %d whole replies; %r; '
              '%r' % (SEED, len(provider.requests), len(seen),
                      dict(trouble.strikes), check))


def check_ledger(who, seen):
    """What was decided before the client had the last byte is in the log,
    whoever was killed."""

    who.audit()
    committed = {rec.id: rec.amount for rec in who.records()
                 if rec.kind == 'commit'}
    for item in seen:
        assert item.decision == 'ALLOW'
        assert committed.get(item.id, 0) >= cost(10, 0), item.id


def check_server(who, trouble, seen):
    state = who.cycles.state()
    assert state['mismatches'] == 0

    # one body for each key, one settlement for each reservation

    bodies = {}
    applied = {}
    for entry in who.cycles.log():
        key = entry.json['idempotency_key']
        assert bodies.setdefault((entry.path, key), entry.body) == entry.body
        if entry.endpoint == 'commit':
            applied.setdefault(entry.path.split('/')[3], set()).add(key)
    assert all(len(keys) == 1 for keys in applied.values())

    recovered = {entry.json.get('metadata', {}).get(
        'recovered_reservation_id') for entry in who.cycles.log('event')}
    reservations = who.cycles.server.ledger.reservations
    lost = 0

    for item in seen:
        if item.decision == 'OUTAGE_ALLOW':
            continue
        status = reservations[item.id].status
        paid = status == 'COMMITTED' or item.id in recovered
        if not paid:
            lost += 1
            assert not trouble.spared(item), (item.id, status)

    unreserved = [s for s in seen if s.decision == 'OUTAGE_ALLOW'
                  and trouble.spared(s)]
    events = sum(1 for e in {e.key: e for e in who.cycles.log('event')}.values()
                 if 'recovered_reservation_id' not in (
                     e.json.get('metadata') or {}))
    assert events >= len(unreserved)
    print('# %d lost within %g s of a kill, %d passed unreserved'
          % (lost, WINDOW, len(unreserved)))
