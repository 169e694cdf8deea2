# Copyright (C) nginx-cycles authors

"""Reload and quit in the middle of everything: nothing is lost, nothing is
done twice, and a configuration that is wrong changes nothing."""

import concurrent.futures
import os
import random
import signal
import threading

import pytest

from gateway import (Conn, Gate, HarnessError, budgets, build_request,
                     chat_request, chat_stream, process_title, wait_until)
from authorities import OUTPUT, authority, chunk_tokens, cost


BUDGET = 10 ** 10

BOTH = pytest.mark.parametrize('kind', ['ledger', 'cycles'])


@pytest.fixture
def start(nginx, provider):
    """start(kind, ...) gives (nginx, authority)."""

    opened = []

    def begin(kind, scopes=None, **kw):
        who = authority(kind, scopes or {'tenant:acme': BUDGET})
        opened.append(who.__enter__())
        return who.attach(nginx(**who.gateway(provider, **kw))), who

    yield begin

    for who in opened:
        who.__exit__()


class Stream:

    def __init__(self, ng, provider, chunks=6, at=3, **kw):
        self.chunks = chunks
        self.gate = Gate()
        provider.script(chat_stream(chunks, gates={at: self.gate}))
        self.conn = Conn(ng.port)
        self.conn.send_chat(tenant='acme', stream=True, max_tokens=100, **kw)
        self.head = self.conn.read_head()
        self.gate.wait_reached()

    def finish(self):
        self.gate.open()
        r = self.conn.read_response(head=self.head)
        assert r.complete and r.text.count('word ') == self.chunks
        self.conn.close()
        return cost(10, self.chunks)


# ------------------------------------------------------------------ reload


@BOTH
def test_reload_with_streams_in_flight(start, provider, kind):
    """The old workers end what they have, the new ones serve meanwhile."""

    ng, who = start(kind)
    old = ng.workers()
    streams = [Stream(ng, provider) for _ in range(8)]

    ng.reload()
    assert any(process_title(pid) for pid in old)
    assert who.live() == 8

    r = ng.chat(tenant='acme')
    assert r.status == 200

    charged = sum(stream.finish() for stream in streams)
    wait_until(lambda: not any(process_title(pid) for pid in old))
    sums = who.audit()
    assert sums['charged'] == charged + cost(10, 5)
    assert sums['expired'] == 0


@BOTH
def test_reload_twice_around_one_stream(start, provider, kind):
    ng, who = start(kind)
    stream = Stream(ng, provider)
    ng.reload()
    other = Stream(ng, provider)
    ng.reload()
    charged = stream.finish() + other.finish()
    assert who.audit()['charged'] == charged


@BOTH
def test_reloads_under_load(start, provider, kind):
    ng, who = start(kind)
    stop = threading.Event()

    def client(number):
        rnd = random.Random(number)
        done = 0
        while not stop.is_set():
            path, headers, body = chat_request(
                tenant='acme', stream=rnd.random() < 0.5,
                headers={'Connection': 'close'})
            try:
                with Conn(ng.port) as conn:
                    conn.send(build_request('POST', path, headers, body))
                    if rnd.random() < 0.2:
                        conn.reset()
                        continue
                    assert conn.read_response().status == 200
                    done += 1
            except (ConnectionError, HarnessError):
                pass
        return done

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(client, number) for number in range(4)]
        try:
            for _ in range(5):
                answered = len(ng.access_log())
                ng.reload()
                wait_until(lambda: len(ng.access_log()) > answered + 10
                           or any(future.done() for future in futures))
        finally:
            stop.set()

    answered = sum(future.result() for future in futures)
    sums = who.audit()
    assert sums['expired'] == 0
    assert sums['charged'] >= answered * cost(10, 5)
    assert answered > 0


@BOTH
def test_price_is_frozen_for_a_request(start, provider, kind):
    """A stream that runs costs what it did when it began."""

    ng, who = start(kind)
    stream = Stream(ng, provider)
    ng.reconfigure(http=ng.texts['HTTP'] + '''
        cycles_price gpt-4o-mini input_cost_per_token=1e-3
                                 output_cost_per_token=1e-3;
    ''')
    charged = stream.finish()
    who.settled()
    assert ng.chat(tenant='acme', max_tokens=1).status == 200
    who.settled()
    assert who.audit()['charged'] == charged + 15 * 100000


def test_budgets_of_a_reload(start, provider):
    """Changed limits count at once, what was spent stays, what the file no
    longer names stays, what is new is there."""

    ng, who = start('ledger', {'tenant:acme': BUDGET, 'tenant:old': BUDGET})
    spent = cost(10, 5)
    for tenant in 'acme', 'old':
        assert ng.chat(tenant=tenant).status == 200
    stream = Stream(ng, provider)
    held = who.budget('tenant:acme')['reserved']

    ng.reconfigure(files={'budgets.json': budgets(
        ('tenant:acme', 2 * BUDGET), ('tenant:new', BUDGET))})

    acme = who.budget('tenant:acme')
    assert acme['allocated'] == 2 * BUDGET
    assert acme['spent'] == spent and acme['reserved'] == held
    assert acme['remaining'] == 2 * BUDGET - spent - held
    assert who.budget('tenant:old')['spent'] == spent
    assert who.budget('tenant:old')['allocated'] == BUDGET
    assert ng.chat(tenant='new').status == 200
    assert ng.chat(tenant='old').status == 200

    # less than what is spent already: nothing more, nothing forgotten

    ng.reconfigure(files={'budgets.json': budgets(('tenant:acme', spent - 1),
                                                  ('tenant:new', BUDGET))})
    charged = stream.finish()
    who.settled()
    acme = who.budget('tenant:acme')
    assert acme['allocated'] == spent - 1
    assert acme['spent'] == spent + charged
    assert acme['remaining'] == acme['allocated'] - acme['spent'] < 0
    assert ng.chat(tenant='acme').status == 429
    who.audit()

    # and all of it is still so at the next start

    before = ng.all_budgets()
    ng.quit()
    ng.start()
    assert ng.all_budgets() == before


def test_reload_of_the_same_budgets_writes_nothing(start, provider):
    ng, who = start('ledger')
    ng.chat(tenant='acme')
    who.settled()
    before = len(who.records())
    ng.reload()
    ng.quit()
    ng.start()
    assert len(who.records()) == before


@pytest.mark.parametrize('how', ['directive', 'budgets', 'prices',
                                 'budgets are gone'])
def test_a_wrong_configuration_changes_nothing(start, provider, how):
    """It says so and goes on with what it had, streams in flight too."""

    ng, who = start('ledger')
    stream = Stream(ng, provider)
    ng.allow.append(r'\[emerg\]')
    old = ng.workers()

    if how == 'directive':
        ng.texts['SERVER'] += '\ncycles_ttl never;\n'
    elif how == 'budgets':
        ng.files['budgets.json'] = '{"budgets": [{"scop": 1}]}'
    elif how == 'budgets are gone':
        os.unlink(ng.path('budgets.json'))
    else:
        ng.files['broken.json'] = '{"gpt-4o-mini": '
        ng.texts['HTTP'] = ng.texts['HTTP'].replace(
            '%%PRICES%%', '%%DIR%%/broken.json')
    if how != 'budgets are gone':
        ng.write_conf()

    ng.send_signal(signal.SIGHUP)
    ng.wait_error_log(r'\[emerg\]')

    assert ng.workers() == old
    charged = stream.finish()
    assert ng.chat(tenant='acme').status == 200
    sums = who.audit()
    assert sums['charged'] == charged + cost(10, 5)
    assert who.budget('tenant:acme')['allocated'] == BUDGET


# -------------------------------------------------------------------- quit


def quitting(ng):
    """quit() in a thread; returns its future once no worker accepts."""

    pool = concurrent.futures.ThreadPoolExecutor(1)
    future = pool.submit(ng.quit, 60)

    def refuses():
        try:
            Conn(ng.port, 1).close()
        except OSError:
            return True
        return False

    wait_until(refuses, what='nginx to stop listening')
    pool.shutdown(wait=False)
    return future


@BOTH
def test_quit_with_streams_in_flight(start, provider, kind):
    ng, who = start(kind)
    streams = [Stream(ng, provider) for _ in range(4)]
    future = quitting(ng)
    charged = sum(stream.finish() for stream in streams)
    assert future.result() == 0
    after_quit(ng, who, kind)
    sums = who.audit()
    assert sums['charged'] == charged and sums['expired'] == 0


def after_quit(ng, who, kind):
    if kind == 'ledger':
        ng.start()                            # its numbers are read there


def test_quit_waits_for_a_commit(start, provider):
    """The client has its reply, the server takes its time."""

    ng, who = start('cycles')
    who.cycles.fault('commit', 'hold')
    assert ng.chat(tenant='acme').status == 200
    who.wait_story('acme', 'reserve', 'commit')
    future = quitting(ng)
    assert not future.done()
    who.cycles.release()
    assert future.result() == 0
    assert who.audit()['charged'] == cost(10, 5)


def test_quit_waits_for_the_retries_of_a_commit(start, provider):
    ng, who = start('cycles', location='cycles_retry initial=300ms;')
    who.cycles.fault('commit', 'unavailable', times=2)
    assert ng.chat(tenant='acme').status == 200
    who.wait_story('acme', 'reserve', 'commit')
    future = quitting(ng)
    assert future.result() == 0
    assert who.story('acme')[1:] == [('commit', cost(10, 5))] * 3
    assert who.audit()['charged'] == cost(10, 5)


def test_quit_does_not_wait_for_ever(start, provider):
    ng, who = start('cycles', location='''
        cycles_ttl 1s;
        cycles_grace_period 0;
        cycles_retry attempts=3 initial=50ms max=100ms;
    ''')
    who.cycles.fault('commit', 'unavailable', times=-1)
    assert ng.chat(tenant='acme').status == 200
    assert ng.quit(30) == 0
    assert who.cycles.count('commit') == 4
    assert who.audit()['expired'] > 0


def test_reload_with_a_retry_pending(start, provider):
    """The old worker keeps its own settlement, the new one does not know."""

    ng, who = start('cycles', location='cycles_retry initial=300ms;')
    who.cycles.fault('commit', {'apply': 1, 'status': 503, 'body': ''},
                     times=2)
    assert ng.chat(tenant='acme').status == 200
    who.wait_story('acme', 'reserve', 'commit')
    ng.reload(wait_old=True)
    assert who.story('acme')[1:] == [('commit', cost(10, 5))] * 3
    assert who.audit()['charged'] == cost(10, 5)
    assert who.cycles.state()['replays'] == 2


@BOTH
def test_worker_shutdown_timeout(start, provider, kind):
    """Streams that outlive it are cut by nginx; what has passed is charged,
    not more and not less, although the worker is about to leave."""

    ng, who = start(kind, main='worker_shutdown_timeout 300ms;')
    streams = [Stream(ng, provider) for _ in range(3)]
    estimate = who.budget('tenant:acme')['reserved'] // 3
    prompt = estimate - 100 * OUTPUT

    ng.reload(wait_old=True)

    for stream in streams:
        assert not stream.conn.read_response(head=stream.head).complete
        stream.conn.close()
        stream.gate.open()

    passed = prompt + OUTPUT * chunk_tokens(3)
    sums = who.audit()
    assert sums['charged'] == 3 * passed
    assert sums['expired'] == 0


def test_worker_shutdown_timeout_leaves_commits_alone(start, provider):
    """It does not reach a call that is under way."""

    ng, who = start('cycles', main='worker_shutdown_timeout 200ms;')
    who.cycles.fault('commit', {'delay': 1})
    assert ng.chat(tenant='acme').status == 200
    who.wait_story('acme', 'reserve', 'commit')
    assert ng.quit(30) == 0
    assert who.story('acme') == [who.story('acme')[0],
                                 ('commit', cost(10, 5))]
    assert who.audit()['charged'] == cost(10, 5)


def test_quit_during_reserve(start, provider):
    ng, who = start('cycles')
    who.cycles.fault('reserve', 'hold')
    with ng.connect() as conn:
        conn.send_chat(tenant='acme')
        who.wait_story('acme', 'reserve')
        future = quitting(ng)
        who.cycles.release()
        assert conn.read_response().status == 200
    assert future.result() == 0
    assert who.audit()['charged'] == cost(10, 5)


def test_stop_leaves_leases_to_their_time(start, provider):
    """TERM ends the workers at once: what they held is given back when its
    time has come, and what was settled stays."""

    ng, who = start('ledger', location='''
        cycles_ttl 1s;
        cycles_grace_period 0;
    ''')
    assert ng.chat(tenant='acme').status == 200
    stream = Stream(ng, provider)
    assert who.live() == 1
    ng.stop()
    ng.start()
    stream.conn.close()
    who.settled(10)
    sums = who.audit()
    assert sums['charged'] == cost(10, 5)
    assert sums['expired'] > 0


@BOTH
def test_worker_that_dies_is_replaced(start, provider, kind):
    """What it held ends with its lease; the other worker's streams are not
    disturbed, and the new worker serves."""

    ng, who = start(kind, workers=2, location='''
        add_header X-Pid $pid;
        cycles_ttl 4s;
        cycles_grace_period 0;
        cycles_timeout 1s;
    ''')
    streams = {}
    while len(streams) < 2:
        stream = Stream(ng, provider)
        streams.setdefault(int(dict(stream.head[1])['X-Pid']), []).append(
            stream)

    dead, alive = sorted(streams)
    ng.kill_worker(dead)
    ng.wait_workers([dead])

    assert ng.chat(tenant='acme').status == 200
    charged = cost(10, 5)
    for stream in streams[dead]:
        stream.conn.wait_closed()
        stream.conn.close()
    for stream in streams[alive]:
        charged += stream.finish()

    who.settled(10)
    sums = who.audit()
    assert sums['charged'] == charged
    assert sums['expired'] > 0
