# Copyright (C) nginx-cycles authors

"""kill -9 of all of nginx in the middle of API load, again and again, while
the log is folded all the time, an operator funds and changes budgets, and
periods end: what a client was told is in the tables after the next start,
exactly once, and the rows explain the balances.  With "sync=always" the power
fails, too: files lose what was not synced.

CRASH_ROUNDS (10 for each way) and CRASH_SEED choose how often and when; "make
crash" does it 200 times.
"""

import hashlib
import json
import os
import random
import sqlite3
import threading

import pytest

from gateway import Conn, Nginx, SCALE, budgets, build_request, wait_until


ROUNDS = int(os.environ.get('CRASH_ROUNDS') or (10 if SCALE == 1 else 5))
SEED = int(os.environ.get('CRASH_SEED') or 20251125)

THREADS = 6
BUDGET = 10 ** 15
UNIT = 'USD_MICROCENTS'
SCOPES = ('tenant:acme', 'tenant:acme/app:x', 'tenant:acme/app:y',
          'tenant:acme/workspace:w')

# one that is funded and frozen now and then, one that begins anew each second

FUNDED = 'tenant:acme/agent:funded'
TURNING = 'tenant:acme/workspace:w'


def amount(n):
    return {'unit': UNIT, 'amount': n}


# what is told of the operator, and where it is

OPERATED = {
    'funding': 'SELECT idempotency_key FROM fundings',
    'frozen': "SELECT reason FROM status_changes WHERE status = 'FROZEN'",
    'tenant': 'SELECT tenant_id FROM tenants',
    'budget': 'SELECT substr(scope, 8) FROM budgets',
    'api key': 'SELECT name FROM api_keys',
}


class Load:
    """Clients of the API, each with a connection of its own; what they were
    told is in .told: {id: (kind, amount or None)}."""

    def __init__(self, ng):
        self.ng = ng
        self.told = {}
        self.answered = 0
        self.serial = 0
        self.lock = threading.Lock()
        self.running = threading.Event()
        self.running.set()
        self.active = 0
        self.stopping = threading.Event()
        self.unexpected = []
        self.threads = [threading.Thread(target=self.run, args=(n,))
                        for n in range(THREADS)]
        for other in self.list, self.operate:
            self.threads.append(threading.Thread(target=self.run,
                                                 args=(other,)))

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *exc):
        self.stopping.set()
        self.running.set()
        for thread in self.threads:
            thread.join()
        assert self.unexpected == []

    def rest(self):
        """Returns when nobody is told anything any more."""

        self.running.clear()
        wait_until(lambda: self.active == 0)

    def run(self, number):
        rnd = random.Random(SEED * 1000 + (0 if callable(number)
                                           else number))
        while not self.stopping.is_set():
            self.running.wait()
            with self.lock:
                self.active += 1
            try:
                with Conn(self.ng.port) as conn:
                    while self.running.is_set() and not self.stopping.is_set():
                        if callable(number):
                            number(conn)
                        else:
                            self.spend(conn, rnd)
            except (OSError, AssertionError, IndexError, ValueError):
                self.stopping.wait(0.002)
            finally:
                with self.lock:
                    self.active -= 1

    def call(self, conn, method, path, body=None, key='X-Cycles-API-Key'):
        data = json.dumps(body).encode() if body else None
        conn.send(build_request(method, '/v1' + path,
                                {key: 'secret',
                                 'Content-Type': 'application/json'}, data))
        r = conn.read_response()
        if not r.complete:
            raise OSError
        if r.status not in (200, 201, 409):
            self.unexpected.append(r)
            raise OSError
        return r.json

    def operate(self, conn):
        """A funding, a budget, a freeze or not, a tenant and its key.  What
        was not answered may have been done: then it is a conflict."""

        def call(method, path, body=None):
            return self.call(conn, method, '/admin/' + path, body,
                             'X-Admin-API-Key')

        key = self.key()
        budget = '?scope=%s&unit=%s' % (FUNDED, UNIT)
        call('POST', 'budgets/unfreeze' + budget)
        r = call('POST', 'budgets/fund' + budget + '&tenant_id=acme', {
            'operation': 'CREDIT', 'amount': amount(len(key)),
            'idempotency_key': key})
        if 'new_allocated' in r:
            self.tell(key, 'funding', len(key))
        call('POST', 'budgets/freeze' + budget, {'reason': key})
        self.tell(key, 'frozen')

        call('POST', 'tenants', {'tenant_id': key, 'name': key})
        self.tell(key, 'tenant')
        call('POST', 'budgets', {
            'tenant_id': key, 'scope': 'tenant:' + key, 'unit': UNIT,
            'allocated': amount(7)})
        self.tell(key, 'budget')
        call('POST', 'api-keys', {'tenant_id': key, 'name': key})
        self.tell(key, 'api key')

    def list(self, conn):
        """Which has the log folded."""

        self.call(conn, 'GET', '/reservations?limit=1')

    def key(self):
        with self.lock:
            self.serial += 1
            return 'key-%d' % self.serial

    def tell(self, id, kind, n=None):
        with self.lock:
            if kind in OPERATED:
                id = (kind, id)
            else:
                self.answered += 1
            self.told[id] = (kind, n)

    def spend(self, conn, rnd):
        request = {'idempotency_key': self.key(),
                   'subject': dict({'tenant': 'acme',
                                    'app': rnd.choice('xyz')},
                                   **({} if rnd.randrange(3)
                                      else {'workspace': 'w'})),
                   'action': {'kind': 'k', 'name': 'n'}}

        if rnd.random() < 0.2:
            r = self.call(conn, 'POST', '/events', dict(
                request, actual=amount(rnd.randrange(1000))))
            self.tell(r['event_id'], 'event')
            return

        n = rnd.randrange(1000)
        r = self.call(conn, 'POST', '/reservations', dict(
            request, estimate=amount(n), ttl_ms=3600000,
            metadata={'pad': 'x' * rnd.randrange(2000)}))
        id = r['reservation_id']
        self.tell(id, 'reserve')
        path = '/reservations/%s/' % id
        what = rnd.random()

        if what < 0.1:
            return
        if what < 0.3:
            self.call(conn, 'POST', path + 'release',
                      {'idempotency_key': self.key()})
            self.tell(id, 'RELEASED', n)
            return
        if what < 0.4:
            self.call(conn, 'POST', path + 'extend',
                      {'idempotency_key': self.key(), 'extend_by_ms': 1000})

        actual = rnd.randrange(1200)
        self.call(conn, 'POST', path + 'commit', {
            'idempotency_key': self.key(), 'actual': amount(actual)})
        self.tell(id, 'COMMITTED', actual)


def files(ng):
    """Of the ledger, that have to be synced; ledger.db itself is written to
    when all of it is in the other one still."""

    return [ng.path('ledger/' + name) for name in os.listdir(ng.path('ledger'))
            if name.endswith('.bin') or name.endswith('-wal')]


def check(ng, told):
    """What was told is there; returns the number of rows."""

    with Conn(ng.port) as conn:
        Load(ng).list(conn)

    main = ng.status()['ledgers']['main']
    assert main['fold_lag'] == 0

    db = sqlite3.connect('file:%s?mode=ro' % ng.path('ledger/ledger.db'),
                         uri=True)
    try:
        db.execute('BEGIN')
        reservations = {row[0]: row[1:] for row in db.execute(
            'SELECT reservation_id, status, estimate, charged, scope_path'
            ' FROM reservations')}
        events = {row[0]: row[1:] for row in db.execute(
            'SELECT event_id, charged, scope_path FROM events')}
        sums = {row[0]: row[1:] for row in db.execute(
            'SELECT scope, reserved, spent, debt, is_over_limit FROM'
            ' balances')}
        ended = dict(db.execute(
            'SELECT scope, sum(periods.spent) FROM periods JOIN budgets ON'
            ' budgets.id = budget GROUP BY scope'))
        funded = db.execute(
            'SELECT allocated, (SELECT sum(amount) FROM fundings) FROM'
            ' budgets WHERE scope = ?', (FUNDED,)).fetchone()
        operated = {kind: [row[0] for row in db.execute(query)]
                    for kind, query in OPERATED.items()}
        count = db.execute('SELECT (SELECT count(*) FROM reservations),'
                           ' (SELECT count(*) FROM events)').fetchone()
    finally:
        db.close()

    assert count == (len(reservations), len(events))

    assert funded[0] == BUDGET + (funded[1] or 0)

    for id, (kind, n) in told.items():
        if kind in OPERATED:
            assert operated[kind].count(id[1]) == 1, (kind, id)
        elif kind == 'event':
            assert id in events
        elif kind == 'reserve':
            assert id in reservations
        else:
            assert reservations[id][0] == kind
            assert kind != 'COMMITTED' or reservations[id][2] == n

    for scope in SCOPES:
        held = spent = 0
        for status, estimate, charged, path in reservations.values():
            if (path + '/').startswith(scope + '/'):
                held += estimate if status == 'ACTIVE' else 0
                spent += charged or 0
        for charged, path in events.values():
            if (path + '/').startswith(scope + '/'):
                spent += charged
        now = spent - ended.get(scope, 0)
        assert sums[scope] == (held, now, 0, 0), scope

        shown = ng.budget(scope)
        assert shown['reserved'] == held
        assert shown['spent'] == now or scope == TURNING

    return sum(count)


@pytest.mark.parametrize('sync', ['interval', 'always'])
def test_kill_while_it_is_folded(disk, sync):
    rnd = random.Random(SEED)
    digest = hashlib.sha256(b'secret').hexdigest()
    disk.note()

    ng = Nginx(
        workers=3, env=disk.env(),
        http='cycles_ledger main path=%%DIR%%/ledger zone=8m segment=1m '
             'budgets=%%DIR%%/budgets.json sync=' + sync + ';',
        server='location /v1/ { cycles_api ledger=main admin_key=secret; }',
        files={'budgets.json': budgets(
            *((scope, BUDGET, {'period': {'type': 'rolling', 'seconds': 1}}
               if scope == TURNING else {}) for scope in SCOPES),
            (FUNDED, BUDGET), tenants=['acme'],
            api_keys=[{'tenant_id': 'acme', 'name': 'k',
                       'secret_sha256': digest}])})

    load = Load(ng)
    rows = 0
    segments = set()

    try:
        ng.start()
        with load:
            for _ in range(ROUNDS):
                wanted = load.answered + rnd.randrange(1, 400)
                wait_until(lambda: load.answered >= wanted)
                segments.update(os.listdir(ng.path('ledger')))
                ng.kill9()
                load.rest()

                if sync == 'always':
                    disk.fail_power(files(ng))

                ng.start()
                n = check(ng, load.told)
                assert n >= rows
                rows = n
                load.running.set()

        operated = [kind for kind, _ in load.told.values()
                    if kind in OPERATED]
        assert check(ng, load.told) >= len(load.told) - len(operated)
        assert set(operated) == set(OPERATED)
        ng.stop()
        ng.check()
    finally:
        ng.close()

    logs = {name for name in segments if name.startswith('log-')}
    assert len(logs) > 1 or ROUNDS < 10
