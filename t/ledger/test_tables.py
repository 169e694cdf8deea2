# Copyright (C) nginx-cycles authors

"""ledger.db in the life of nginx: the log becomes its tables and goes, copies
are made of it, disks are full, files are missing."""

import contextlib
import hashlib
import itertools
import json
import os
import pwd
import re
import shutil
import sqlite3
import subprocess
import threading
import time

import pytest

from gateway import (Conn, Gate, HarnessError, Nginx, USER, budgets,
                     chat_stream, ledger_gateway, parallel, wait_until)


BUDGET = 10 ** 12
DIGEST = hashlib.sha256(b'secret').hexdigest()


def conf(ledger='', server='', budget=None, **kw):
    return dict(
        http='cycles_ledger main path=%%DIR%%/ledger '
             'budgets=%%DIR%%/budgets.json ' + ledger + ';',
        server='location /v1/ { cycles_api ledger=main; }' + server,
        files={'budgets.json': budgets(
            ('tenant:acme', BUDGET, budget or {}),
            ('tenant:acme/app:x', BUDGET), tenants=['acme'], api_keys=[
                {'tenant_id': 'acme', 'name': 'k',
                 'secret_sha256': DIGEST}])}, **kw)


def call(ng, method, path, body=None):
    return ng.request(method, '/v1' + path,
                      {'X-Cycles-API-Key': 'secret',
                       'Content-Type': 'application/json'},
                      json.dumps(body).encode() if body else None)


def amount(n):
    return {'unit': 'USD_MICROCENTS', 'amount': n}


def reserve(ng, key, n=10, pad=0):
    return call(ng, 'POST', '/reservations', {
        'idempotency_key': key, 'estimate': amount(n), 'ttl_ms': 3600000,
        'subject': {'tenant': 'acme', 'app': 'x'},
        'action': {'kind': 'k', 'name': 'n'},
        'metadata': {'pad': pad * 'x'}})


def commit(ng, rid, n=7):
    return call(ng, 'POST', '/reservations/%s/commit' % rid, {
        'idempotency_key': 'c', 'actual': amount(n)})


def pair(ng, key, **kw):
    r = reserve(ng, key, **kw)
    assert r.status == 200, r
    rid = r.json['reservation_id']
    r = commit(ng, rid)
    assert r.status == 200, r
    return rid


def pair_or_not(ng, key):
    """The status of a reserve; what was reserved is committed."""

    r = reserve(ng, key, pad=2000)
    if r.status == 200:
        assert commit(ng, r.json['reservation_id']).status == 200
    return r.status


def main(ng):
    return ng.status()['ledgers']['main']


def all_folded(ng):
    return main(ng)['fold_lag'] == 0


def logs(ng):
    return sorted(name for name in os.listdir(ng.path('ledger'))
                  if name.startswith('log-'))


def rows(path, sql):
    db = sqlite3.connect('file:%s?mode=ro' % path, uri=True)
    try:
        return db.execute(sql).fetchall()
    finally:
        db.close()


def explained(path):
    """The rows explain the sums, as of one moment."""

    held, spent, events = rows(path, '''
        SELECT (SELECT ifnull(sum(estimate), 0) FROM reservations
                WHERE status = 'ACTIVE'),
               (SELECT ifnull(sum(charged), 0) FROM reservations),
               (SELECT ifnull(sum(charged), 0) FROM events)''')[0]
    assert rows(path, "SELECT reserved, spent FROM balances"
                " WHERE scope = 'tenant:acme'") == [(held, spent + events)]
    return held, spent


def fill(path):
    with open(path, 'ab', buffering=0) as file:
        try:
            while True:
                file.write(b'x' * 4096)
        except OSError:
            pass


@pytest.mark.parametrize('sync', ('always', 'interval'))
def test_the_next_file_of_the_log_is_ready(nginx, sync):
    """With sync=always it is written before it is used, and as large then."""

    ng = nginx(**conf('segment=1m sync=' + sync))
    pair(ng, 'one')
    wait_until(lambda: all_folded(ng))
    pair(ng, 'two')

    large = [name for name in logs(ng)
             if os.path.getsize(ng.path('ledger/' + name)) >= 1 << 20]
    assert len(large) == (sync == 'always')


def test_the_log_is_cut(nginx):
    ng = nginx(**conf('segment=1m'))

    def one(n):
        return pair(ng, 'k%d' % n, pad=3000)

    rids = parallel(1000, one, threads=8)
    wait_until(lambda: all_folded(ng))

    # a segment may be on its way out

    def cut():
        size = main(ng)['log_size']
        names = logs(ng)
        try:
            return len(names) <= 2 and size == sum(
                os.path.getsize(ng.path('ledger/' + name)) for name in names)
        except FileNotFoundError:
            return False

    wait_until(cut)
    status = main(ng)
    assert status['log_size'] < 3 * 2 ** 20
    assert status['database_size'] > 3 * 2 ** 20
    assert status['folded'] == status['records']
    assert int(logs(ng)[0][4:24]) > 1

    assert rows(ng.path('ledger/ledger.db'), 'SELECT count(*), sum(charged)'
                " FROM reservations WHERE status = 'COMMITTED'") \
        == [(1000, 7000)]

    before = ng.budget('tenant:acme')
    ng.kill9()
    ng.start()
    assert ng.budget('tenant:acme') == before
    assert commit(ng, rids[0]).status == 200
    assert ng.budget('tenant:acme') == before


def test_any_worker_folds(nginx):
    """The one that did it last is killed; a reload has new ones do it."""

    ng = nginx(workers=2, **conf())
    for n in range(4):
        pair(ng, 'k%d' % n)
        wait_until(lambda: all_folded(ng))
        if n == 1:
            for pid in ng.workers():
                ng.kill_worker(pid)
                ng.wait_workers([pid])
        if n == 2:
            ng.reload()

    explained(ng.path('ledger/ledger.db'))


def test_what_begins_and_ends_is_bundled(nginx, provider):
    """A few records wait for some seconds, so that replies that take two are
    parts of a bundle, and no rows that are written twice."""

    ng = nginx(**ledger_gateway(provider, ('tenant:acme', BUDGET)))
    streams = 8

    def ask():
        """Whether nothing was folded from before reserves to commits."""

        folded = main(ng)['folded']
        gate = Gate()
        provider.default = chat_stream(3, gates={1: gate}, with_usage=True)

        with contextlib.ExitStack() as stack:
            conns = [stack.enter_context(Conn(ng.port))
                     for _ in range(streams)]
            for conn in conns:
                conn.send_chat(tenant='acme', stream=True)
            began = time.monotonic()
            wait_until(lambda: ng.live_reservations() == streams)
            wait_until(lambda: time.monotonic() > began + 2)
            gate.open()
            for conn in conns:
                conn.read_until(b'data: [DONE]\n\n')

        wait_until(lambda: ng.live_reservations() == 0)
        return main(ng)['folded'] == folded

    # with a fold in each second there would be one in between each time

    wait_until(ask, timeout=60)
    wait_until(lambda: all_folded(ng))

    path = ng.path('ledger/ledger.db')
    n, = rows(path, 'SELECT count(*) FROM reservations')[0]
    (in_rows,), = rows(path, 'SELECT count(*) FROM reservation_rows')
    assert n % streams == 0 and in_rows <= n - streams


def folders(ng):
    """The workers that have written to the tables."""

    def has_open(pid):
        for fd in os.listdir('/proc/%d/fd' % pid):
            try:
                name = os.readlink('/proc/%d/fd/%s' % (pid, fd))
            except OSError:
                continue
            if name.endswith('/ledger.db'):
                return True
        return False

    return [pid for pid in ng.workers() if has_open(pid)]


def test_who_has_folded_goes_on(nginx):
    """Whoever has done it last does it again, unless it is away for some
    seconds; where the machine is that busy, it is tried again.  Nobody waits
    for what an operator changes, so that timers alone have it folded; at
    first these are short, as there are filters to be made."""

    for _ in range(10):
        ng = nginx(workers=4, **conf(
            server='location /op/ { cycles_api ledger=main admin_key=k; }'))
        wait_until(lambda: all_folded(ng))
        longest = by_timer = n = 0
        last = time.monotonic()
        while by_timer < 3:
            n += 1
            r = ng.request('PATCH', '/op/v1/admin/budgets?scope=tenant:acme'
                           '&unit=USD_MICROCENTS', {
                               'X-Admin-API-Key': 'k',
                               'Content-Type': 'application/json'},
                           b'{"metadata":{"n":%d}}' % n)
            assert r.status == 200, r
            wait_until(lambda: all_folded(ng))
            took = time.monotonic() - last
            last += took
            longest = max(longest, took)
            by_timer += took > 0.4
        found = folders(ng)
        if longest < 7:
            assert len(found) == 1
            return
        ng.stop()
    pytest.fail('the machine is too busy')


def test_without_a_master(nginx):
    ng = nginx(main='master_process off;', workers=0, **conf())
    pair(ng, 'k')
    wait_until(lambda: all_folded(ng))
    explained(ng.path('ledger/ledger.db'))
    ng.quit()
    ng.start()
    pair(ng, 'k2')
    wait_until(lambda: all_folded(ng))


def test_files_are_private(nginx):
    ng = nginx(**conf())
    pair(ng, 'k')
    wait_until(lambda: all_folded(ng))
    for name in os.listdir(ng.path('ledger')):
        st = os.stat(ng.path('ledger/' + name))
        assert st.st_mode & 0o777 == 0o600
        if os.geteuid() == 0:
            assert st.st_uid == pwd.getpwnam(USER).pw_uid


# copies

class Writers:
    """Clients that write all the time; .told has what they were told."""

    def __init__(self, ng):
        self.ng = ng
        self.told = []
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(n,))
                        for n in range(4)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *exc):
        self.stopping.set()
        for thread in self.threads:
            thread.join()

    def run(self, number):
        n = 0
        while not self.stopping.is_set():
            n += 1
            self.told.append(pair(self.ng, 'w%d-%d' % (number, n), pad=1000))


def given(ng, target):
    if os.geteuid() == 0:
        user = pwd.getpwnam(USER)
        for name in os.listdir(target):
            os.chown(os.path.join(target, name), user.pw_uid, user.pw_gid)


def vacuum(ng, target):
    subprocess.run(['sqlite3', ng.path('ledger/ledger.db'),
                    "VACUUM INTO '%s/ledger.db'" % target], check=True)


def copy_log(ng, target):
    for name in logs(ng):
        try:
            shutil.copy(ng.path('ledger/' + name), target)
        except FileNotFoundError:
            pass                          # folded since it was listed


@pytest.mark.parametrize('how', ['tables', 'all'])
def test_copy_under_load(nginx, how):
    ng = nginx(**conf('segment=4m'))
    other = Nginx(**conf('segment=4m'))
    target = other.path('ledger')

    try:
        with Writers(ng) as writers:
            wait_until(lambda: len(writers.told) > 500)
            wait_until(lambda: main(ng)['folded'] > 400)
            if how == 'all':
                copy_log(ng, target)
            vacuum(ng, target)
            if how == 'all':
                told = list(writers.told)
                copy_log(ng, target)

        if how == 'tables':
            other_refuses(other, 'is missing')
            subprocess.run(['sqlite3', target + '/ledger.db',
                            "UPDATE meta SET log = 'lost'"], check=True)

        given(other, target)
        other.start()
        pair(other, 'new')
        wait_until(lambda: all_folded(other))
        held, spent = explained(target + '/ledger.db')
        shown = other.budget('tenant:acme')
        assert (shown['reserved'], shown['spent']) == (held, spent)

        if how == 'all':
            for rid in told:
                assert commit(other, rid).status == 200
            assert other.budget('tenant:acme') == shown
        else:
            assert spent > 300 * 7

        other.quit()
        other.start()
        assert other.budget('tenant:acme') == shown
        other.stop()
        other.check()
    finally:
        other.close()


def other_refuses(ng, says):
    with pytest.raises(HarnessError) as error:
        ng.start()
    assert says in str(error.value)
    ng.allow.append(re.escape(says))


# files that are missing

def test_tables_are_made_anew(nginx):
    """While the log has all of it, ledger.db may go at any time."""

    ng = nginx(**conf())
    pair(ng, 'k')
    wait_until(lambda: all_folded(ng))

    for name in 'ledger.db', 'ledger.db-wal', 'ledger.db-shm':
        os.unlink(ng.path('ledger/' + name))
    pair(ng, 'k2')
    wait_until(lambda: os.path.exists(ng.path('ledger/ledger.db')))
    wait_until(lambda: all_folded(ng))
    assert explained(ng.path('ledger/ledger.db')) == (0, 14)

    ng.quit()
    for name in os.listdir(ng.path('ledger')):
        if name.startswith('ledger.db'):
            os.unlink(ng.path('ledger/' + name))
    ng.start()
    assert ng.budget('tenant:acme')['spent'] == 14
    wait_until(lambda: all_folded(ng))
    assert explained(ng.path('ledger/ledger.db')) == (0, 14)


def test_tables_are_lost(nginx):
    """When the log has been cut, they can't be made anew; what runs goes on,
    and keeps the log."""

    ng = nginx(**conf('segment=1m'))
    parallel(700, lambda n: pair(ng, 'k%d' % n, pad=3000), threads=8)
    wait_until(lambda: all_folded(ng) and int(logs(ng)[0][4:24]) > 1)

    saved = ng.path('saved')
    os.mkdir(saved)
    vacuum(ng, saved)
    for name in 'ledger.db', 'ledger.db-wal', 'ledger.db-shm':
        os.unlink(ng.path('ledger/' + name))

    ng.allow += ['ledger.db', 'tables of ledger']
    rid = pair(ng, 'later')
    ng.wait_error_log('has been removed: stop nginx and restore it')
    assert not os.path.exists(ng.path('ledger/ledger.db'))
    assert call(ng, 'GET', '/reservations').status == 500
    assert ng.budget('tenant:acme')['spent'] == 7 * 701

    ng.quit()
    other_refuses(ng, '"ledger.db" is missing')

    shutil.copy(saved + '/ledger.db', ng.path('ledger'))
    given(ng, ng.path('ledger'))
    ng.start()
    assert ng.budget('tenant:acme')['spent'] == 7 * 701
    assert commit(ng, rid).status == 200
    assert call(ng, 'GET', '/reservations/' + rid).json['committed'] \
        == amount(7)
    wait_until(lambda: all_folded(ng))
    assert explained(ng.path('ledger/ledger.db')) == (0, 7 * 701)


def test_the_log_is_lost(nginx):
    ng = nginx(**conf())
    rid = pair(ng, 'k')
    wait_until(lambda: all_folded(ng))

    for name in logs(ng):
        os.unlink(ng.path('ledger/' + name))

    # one that folds or syncs right now still has the log open

    def missed():
        return re.search('the log no longer has the next one'
                         '|could not be synced', ng.error_log())

    folded = 0
    while True:
        before = ng.budget('tenant:acme')
        pair(ng, 'later-%d' % folded)
        wait_until(lambda: missed() or all_folded(ng))
        if missed():
            break
        folded += 1
    ng.allow += ['ledger.db', 'could not be synced']

    ng.quit()
    other_refuses(ng, 'the log in "%s" is missing' % ng.path('ledger'))

    subprocess.run(['sqlite3', ng.path('ledger/ledger.db'),
                    "UPDATE meta SET log = 'lost'"], check=True)
    given(ng, ng.path('ledger'))
    ng.start()
    assert ng.budget('tenant:acme') == before
    assert commit(ng, rid).status == 200
    pair(ng, 'later')
    wait_until(lambda: all_folded(ng))
    assert explained(ng.path('ledger/ledger.db')) == (0, 7 * (folded + 2))


# disks

@pytest.fixture
def disk_of(request):
    """Mounts a small disk as the ledger's directory."""

    if os.geteuid() != 0:
        pytest.skip('a small disk needs root')

    made = []

    def make(size, **kw):
        ng = Nginx(**conf('segment=1m', allow=['ledger.db', "can't take",
                                               "can't serve", 'tables of'],
                          **kw))
        made.append(ng)
        user = pwd.getpwnam(USER)
        done = subprocess.run(
            ['mount', '-t', 'tmpfs', '-o', 'size=%s,mode=700,uid=%d,gid=%d'
             % (size, user.pw_uid, user.pw_gid), 'tmpfs',
             ng.path('ledger')], capture_output=True)
        if done.returncode != 0:
            pytest.skip('cannot mount: %s' % done.stderr)
        return ng

    yield make

    for ng in made:
        ng.stop()
        subprocess.run(['umount', ng.path('ledger')], check=False)
        ng.close()


def test_full_disk(disk_of):
    """Holds settle, nobody waits in vain, and nothing is lost."""

    ng = disk_of('8m')
    ng.start()
    live = [reserve(ng, 'live%d' % n).json['reservation_id']
            for n in range(20)]
    pair(ng, 'k')
    wait_until(lambda: all_folded(ng))

    fill(ng.path('ledger/ballast'))

    count = itertools.count()

    def denied():
        return any(status != 200 for status in parallel(
            100, lambda _: reserve(ng, 'd%d' % next(count), pad=2000).status,
            threads=8))

    wait_until(denied)
    ng.wait_error_log('database or disk is full')
    lag = main(ng)['fold_lag']
    assert lag > 0
    assert call(ng, 'GET', '/reservations').status == 500

    for rid in live:
        assert commit(ng, rid).status == 200
    spent = ng.budget('tenant:acme')['spent']
    assert spent == 7 * 21

    os.unlink(ng.path('ledger/ballast'))
    wait_until(lambda: all_folded(ng))
    explained(ng.path('ledger/ledger.db'))
    assert call(ng, 'GET', '/reservations').status == 200
    before = ng.budget('tenant:acme')
    assert before['spent'] == spent

    ng.quit()
    ng.start()
    assert ng.budget('tenant:acme') == before
    ng.stop()
    ng.check()


def test_the_end_of_a_period_on_a_full_disk(disk_of, clock):
    """There is room for it, as there is for what is owed."""

    day = {'period': {'type': 'calendar', 'every': 'day'}}
    clock.jump(int(86400 - time.time() % 86400 - 600))
    ng = disk_of('8m', env=clock.env(), budget=day)
    ng.start()
    live = [reserve(ng, 'live%d' % n).json['reservation_id']
            for n in range(20)]
    pair(ng, 'k')
    wait_until(lambda: all_folded(ng))
    fill(ng.path('ledger/ballast'))

    count = itertools.count()

    def denied():
        return any(status != 200 for status in parallel(
            100, lambda _: pair_or_not(ng, 'd%d' % next(count)), threads=8))

    wait_until(denied)
    before = ng.budget('tenant:acme')
    assert before['reserved'] == 20 * 10
    clock.jump(1200)

    for rid in live:
        assert commit(ng, rid).status == 200
    after = ng.budget('tenant:acme')
    assert (after['spent'], after['reserved']) == (20 * 7, 0)

    os.unlink(ng.path('ledger/ballast'))
    wait_until(lambda: all_folded(ng))
    assert rows(ng.path('ledger/ledger.db'), 'SELECT spent, reserved FROM'
                ' periods') == [(before['spent'], 20 * 10)]
    pair(ng, 'later')
    ng.quit()
    ng.start()
    assert ng.budget('tenant:acme')['spent'] == 21 * 7
    ng.stop()
    ng.check()


def test_read_only_disk(disk_of):
    ng = disk_of('16m')
    ng.start()
    pair(ng, 'k')
    wait_until(lambda: all_folded(ng))
    before = ng.budget('tenant:acme')
    ng.quit()

    def remount(how):
        subprocess.run(['mount', '-o', 'remount,' + how, ng.path('ledger')],
                       check=True)

    remount('ro')
    other_refuses(ng, 'Read-only file system')
    remount('rw')
    ng.start()
    assert ng.budget('tenant:acme') == before
    pair(ng, 'k2')
    ng.stop()
    ng.check()


def test_a_second_nginx(nginx):
    ng = nginx(**conf())
    pair(ng, 'k')
    wait_until(lambda: all_folded(ng))

    args = conf()
    args['http'] = args['http'].replace('%%DIR%%/ledger', ng.path('ledger'))
    other = Nginx(**args)
    try:
        other_refuses(other, 'is in use by the nginx with pid %d' % ng.master)
    finally:
        other.close()

    pair(ng, 'k2')
    wait_until(lambda: all_folded(ng))
    assert explained(ng.path('ledger/ledger.db')) == (0, 14)
