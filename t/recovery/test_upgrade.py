# Copyright (C) nginx-cycles authors

"""An upgrade of the binary there and back under load: USR2, WINCH, QUIT.  For
a while two masters have one ledger, or one journal.  No client notices more
of it than it does of nginx without the module, and no settlement is lost.
Neither is one when a master is killed."""

import concurrent.futures
import itertools
import os
import random
import signal
import threading

import pytest

import gateway
from gateway import (Conn, Gate, HarnessError, build_request, chat_request,
                     chat_stream, free_port, process_title, wait_until)
from authorities import Server, authority, cost
from journal import Journal, commit_record, file_name
from test_scenarios import reserve


BUDGET = 10 ** 10

BOTH = pytest.mark.parametrize('kind', ['ledger', 'cycles'])

# so slow that a worker which is told to end has settlements under way

SLOW = {'delay': 0.1}

LOCATION = '''
    cycles_timeout 5s;
    cycles_retry initial=20ms max=50ms;
'''

JOURNAL = 'cycles_journal path=%%DIR%%/journal replay=200ms;'

# the same without us

PLAIN = dict(
    module='',
    http='''
        upstream provider { server 127.0.0.1:%%PROVIDER%%; keepalive 64; }
    ''',
    server='''
        location / {
            proxy_pass http://provider;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }
    ''')


class Load:
    """Clients that ask one thing after another, with a connection for each,
    or with one for many.  Once it has ended, check() tells what failed."""

    def __init__(self, port, clients=6):
        self.port = port
        self.clients = clients
        self.stop = threading.Event()
        self.lock = threading.Lock()
        self.failed = []
        self.idle = 0               # closed by nginx before it was used again
        self.charged = 0
        self.answered = 0
        self.pool = concurrent.futures.ThreadPoolExecutor(clients)

    def __enter__(self):
        self.futures = [self.pool.submit(self._client, n)
                        for n in range(self.clients)]
        return self

    def __exit__(self, *exc):
        self.stop.set()
        self.pool.shutdown()

    def wait_more(self, n=20):
        count = self.answered
        wait_until(lambda: self.failed or self.answered >= count + n
                   or any(future.done() for future in self.futures),
                   what='%d more replies' % n)

    def check(self):
        """Nothing failed.  There and back, workers end three times: as often
        a client may find closed what it has kept."""

        for future in self.futures:
            future.result()
        assert self.failed == []
        assert self.idle <= 3 * (self.clients // 2)
        print('# %d replies, %d kept connections closed, none failed'
              % (self.answered, self.idle))

    def _client(self, number):
        rnd = random.Random(number)
        keeps = number % 2
        conn = None

        while not self.stop.is_set():
            stream = rnd.random() < 0.5
            path, headers, body = chat_request(
                tenant='acme', stream=stream, max_tokens=100,
                headers={} if keeps else {'Connection': 'close'})
            try:
                if conn is None:
                    conn, used = Conn(self.port), False
                conn.send(build_request('POST', path, headers, body))
                r = conn.read_response()
                ok = (r.status == 200 and r.complete
                      and (not stream or '[DONE]' in r.text))
                with self.lock:
                    self.answered += 1
                    self.charged += cost(10, 5)
                    if not ok:
                        self.failed.append(r)
                used = True
                if not keeps or r.header('connection') == 'close':
                    conn.close()
                    conn = None
            except (OSError, HarnessError) as exc:
                idle = (conn and used and conn.buf == b''
                        and not isinstance(exc, TimeoutError))
                with self.lock:
                    if idle:
                        self.idle += 1
                    else:
                        self.failed.append(exc)
                conn = None
        if conn:
            conn.close()


class Loose:
    """Records in the journal that no process has under way."""

    def __init__(self, who, ng):
        self.cycles = who.cycles
        self.journal = Journal(ng.path('journal'))
        self.numbers = itertools.count(1)
        self.charged = 0

    def put(self):
        n = next(self.numbers)
        key = 'loose-%d' % n
        id = reserve(self.cycles, amount=5000)
        self.journal.put(file_name(id), commit_record(id, 4000 + n, key=key))
        self.charged += 4000 + n
        self.cycles.wait(lambda: [
            e for e in self.cycles.log('commit')
            if e.key == key and e.status == 200])


def there_and_back(ng, load, at=lambda: None):
    """Two masters; the new one alone; two again, but the old one is back; and
    forward for good.  at() is called in each of these states."""

    old = ng.pid
    load.wait_more()

    new = ng.upgrade()
    load.wait_more()
    at()

    ng.winch(old)
    load.wait_more()
    at()

    ng.hup(old)
    load.wait_more()
    at()

    ng.end(new)
    wait_until(lambda: os.path.exists(ng.path('nginx.pid')))
    load.wait_more()
    at()

    ng.pid = ng.upgrade()
    ng.end(old)
    load.wait_more()
    at()


def crowd(port, n):
    """So many at once, of a tenant who has enough for a few."""

    path, headers, body = chat_request(tenant='acme')
    headers['Connection'] = 'close'
    data = build_request('POST', path, headers, body)
    return [r.status for r in gateway.burst(port, [data] * n)]


@BOTH
def test_two_masters_have_one_budget(daemon, provider, kind):
    """Each has a port of its own beside the one they share."""

    n = 20
    with authority(kind, {'tenant:acme': n * 1000 + 999}) as who:
        old_port, new_port = free_port(), free_port()
        ng = who.attach(daemon(side=old_port, **who.gateway(
            provider, location=LOCATION + '''
                cycles_estimate 1000;
                cycles_actual 1000;
            ''', server='listen 127.0.0.1:%%SIDE%% backlog=4096;')))
        old = ng.pid
        ng.set(side=new_port)
        ng.write_conf()
        ng.pid = ng.upgrade()

        assert crowd(old_port, 1) == crowd(new_port, 1) == [200]

        first, second = gateway.parallel(
            2, lambda i: crowd((old_port, new_port)[i], 2 * n))
        assert (first + second).count(200) == n - 2
        assert (first + second).count(429) == 3 * n + 2

        ng.end(old)
        assert crowd(new_port, 1) == [429]
        assert who.audit()['charged'] == n * 1000


@BOTH
def test_there_and_back_under_load(daemon, provider, kind):
    with authority(kind, {'tenant:acme': BUDGET}) as who:
        ng = who.attach(daemon(**who.gateway(
            provider, location=LOCATION,
            http=JOURNAL if who.remote else '')))
        loose = None

        if who.remote:
            who.cycles.fault('commit', 'drop_before', skip=10)
            who.cycles.fault('commit', SLOW, times=-1)
            loose = Loose(who, ng)

        at = loose.put if loose else lambda: None

        with Load(ng.port) as load:
            there_and_back(ng, load, at)

        load.check()

        charged = load.charged
        if loose:
            charged += loose.charged
            loose.journal.wait_empty()
            who.settled()
            assert who.cycles.state()['mismatches'] == 0
            sums = who.check_sums()
        else:
            sums = who.audit()
        assert sums['charged'] == charged
        assert sums['expired'] == 0
        assert sums['committed'] + sums['released'] == sums['reserved']


def test_the_same_without_the_module(daemon, provider):
    """What is asked of us is no more than what nginx does by itself."""

    ng = daemon(provider=provider.port, **PLAIN)
    with Load(ng.port) as load:
        there_and_back(ng, load)
    load.check()


@BOTH
def test_a_new_master_that_dies(daemon, provider, kind):
    """With all its workers, in the middle of a stream of theirs: the old one
    goes on, and what the dead ones had is settled as after any crash."""

    with authority(kind, {'tenant:acme': BUDGET}) as who:
        ng = who.attach(daemon(**who.gateway(
            provider, location=LOCATION + '''
                cycles_ttl 1s;
                cycles_grace_period 0;
            ''', http=JOURNAL if who.remote else '')))
        old = ng.pid
        new = ng.upgrade()
        ng.winch(old)

        gate = Gate()
        provider.script(chat_stream(4, gates={2: gate}))
        with ng.connect() as conn:
            conn.send_chat(tenant='acme', stream=True, max_tokens=100)
            gate.wait_reached()
            assert who.live() == 1
            ng.kill9_of(new)
        gate.open()

        # nothing of the new one is left but its reservation, which expires

        ng.hup(old)
        assert ng.chat(tenant='acme').status == 200
        who.settled()
        assert who.budget('tenant:acme')['spent'] == cost(10, 5)

        # and it can be tried again

        ng.pid = ng.upgrade()
        ng.end(old)
        assert ng.chat(tenant='acme').status == 200
        sums = who.audit()
        assert sums['charged'] == 2 * cost(10, 5)
        assert sums['expired'] > 0


def test_what_a_worker_leaves_the_new_master_settles(daemon, provider):
    """The old master has gone with a commit that never got an answer."""

    who = Server({'tenant:acme': BUDGET})
    with who:
        ng = who.attach(daemon(**who.gateway(
            provider, location=LOCATION, http='''
                cycles_journal path=%%DIR%%/journal replay=200ms
                               flush_timeout=100ms;
            ''')))
        journal = Journal(ng.path('journal'))
        who.cycles.fault('commit', {'apply': 0, 'hold': True,
                                    'status': 503})
        assert ng.chat(tenant='acme').status == 200
        who.cycles.wait(lambda: who.cycles.count('commit') == 1)
        (path, record), = journal.records().items()

        # the new master's workers see it, and that somebody has it

        old = ng.pid
        ng.pid = ng.upgrade()
        assert ng.chat(tenant='acme').status == 200
        who.cycles.wait(lambda: who.cycles.count('commit') == 2)
        assert journal.files().count(path) == 1

        ng.end(old)
        journal.wait_empty()
        wait_until(lambda: who.live() == 0)
        commits = [e for e in who.cycles.log('commit')
                   if e.path.split('/')[3] == record['reservation_id']]
        assert len(commits) == 2
        assert commits[0].body == commits[1].body
        assert who.check_sums()['charged'] == 2 * cost(10, 5)
        who.cycles.release()


@BOTH
def test_a_master_that_is_killed(nginx, provider, kind):
    """Its workers go on, and settle what they have.  A new nginx can't begin
    beside them and says why; when they are told to end, it has all."""

    with authority(kind, {'tenant:acme': BUDGET}) as who:
        ng = who.attach(nginx(**who.gateway(
            provider, location='cycles_retry initial=20ms;',
            http='cycles_journal path=%%DIR%%/journal;'
            if who.remote else '')))
        ng.allow += ['is in use by workers', r'bind\(\) to', 'still could not']
        gate = Gate()
        provider.script(chat_stream(3, gates={1: gate}))
        workers = ng.workers()

        with Conn(ng.port) as conn:
            conn.send_chat(tenant='acme', stream=True, max_tokens=100)
            gate.wait_reached()

            os.kill(ng.master, signal.SIGKILL)
            ng.process.wait(20)
            assert ng.chat(tenant='acme').status == 200

            with pytest.raises(HarnessError) as error:
                ng.start()
            assert ('bind() to' in str(error.value)
                    or 'is in use by workers that the nginx with pid'
                    in str(error.value))

            gate.open()
            assert conn.read_response().complete

        who.settled()
        spent = cost(10, 3) + cost(10, 5)
        assert who.budget('tenant:acme')['spent'] == spent

        for pid in workers:
            os.kill(pid, signal.SIGQUIT)
        wait_until(lambda: not any(process_title(pid) for pid in workers))
        ng.start()
        assert ng.chat(tenant='acme').status == 200
        assert who.audit()['charged'] == spent + cost(10, 5)
