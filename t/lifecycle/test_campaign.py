# Copyright (C) nginx-cycles authors

"""Requests with faults by chance, many at a time: clients that leave, a
provider that fails, an authority that loses answers.  Whatever met with
whatever, in the end each reservation was settled once and the sums are right.

CAMPAIGN_REQUESTS (400) and CAMPAIGN_SEED choose how many and which.
"""

import os
import random
import threading

import pytest

import gateway
from gateway import (CLOSE, Conn, HarnessError, RESET, Reply, STALL,
                     build_request, chat, chat_request, chat_stream, error)
from authorities import authority, cost
from raw import H2Conn


REQUESTS = int(os.environ.get('CAMPAIGN_REQUESTS') or 400)
SEED = int(os.environ.get('CAMPAIGN_SEED') or 20251122)

TENANTS = 5
CLIENTS = 8


class Misfortune:
    """What the provider does, by chance; a function like chat_auto()."""

    def __init__(self, seed):
        self.rnd = random.Random(seed)
        self.lock = threading.Lock()

    def __call__(self, rq):
        with self.lock:
            what = self.rnd.choice((
                'good', 'good', 'good', 'error', 'reset', 'close', 'stall',
                'cut', 'no usage', 'garbage'))
            mark = self.rnd.choice((RESET, CLOSE, STALL))
            n = self.rnd.randrange(1, 20)
            status = self.rnd.choice((400, 429, 500, 503))
            garbage = self.rnd.randbytes(100)

        if what == 'error':
            return error(status)
        if what in ('reset', 'close', 'stall'):
            return {'reset': RESET, 'close': CLOSE, 'stall': STALL}[what]

        stream = bool((rq.json or {}).get('stream'))
        if what == 'cut' and stream:
            return chat_stream(20, cut=(n, mark))(rq)
        if what == 'garbage':
            return Reply(200, {'Content-Type': 'text/event-stream' if stream
                               else 'application/json'}, [garbage])
        if what == 'no usage':
            return (chat_stream(n, with_usage=False) if stream
                    else chat(with_usage=False))(rq)
        return (chat_stream(n) if stream else chat(completion=n))(rq)


FAULTS = ('drop_before', 'drop_after', 'reset_before', 'reset_after',
          'internal', 'unavailable', 'malformed', 'truncated', 'wrong_2xx',
          'duplicate', 'never_after')


def client(ng, number, n, seen):
    rnd = random.Random(SEED * 100 + number)
    conn = None

    for _ in range(n):
        path, headers, body = chat_request(
            tenant='t%d' % rnd.randrange(TENANTS),
            stream=rnd.random() < 0.6, max_tokens=100)
        data = build_request('POST', path, headers, body)
        leaves = rnd.random() < 0.35
        try:
            if conn is None:
                conn = Conn(ng.port)
            if not leaves:
                conn.send(data)
                r = conn.read_response()
                seen.append((r.status, r.complete))
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
            if rnd.random() < 0.5:
                conn.reset()
            else:
                conn.close()
            conn = None
        except (OSError, HarnessError):
            conn = None

    if conn:
        conn.close()


def h2_client(ng, number, n, seen):
    """Several streams at a time on each connection: some are reset, inside
    their body or at once or later, some are read, then all end together."""

    rnd = random.Random(SEED * 100 + number)
    left = n

    while left > 0:
        try:
            with H2Conn(ng.h2_port) as conn:
                conn.sock.settimeout(gateway.TIMEOUT)
                streams = []
                for _ in range(min(left, rnd.randrange(1, 9))):
                    left -= 1
                    path, headers, body = chat_request(
                        tenant='t%d' % rnd.randrange(TENANTS),
                        stream=rnd.random() < 0.6, max_tokens=100)
                    whole = rnd.random() < 0.9
                    stream = conn.request(
                        'POST', path, headers,
                        body if whole else body[:rnd.randrange(len(body))],
                        end=whole)
                    if not whole or rnd.random() < 0.3:
                        conn.reset(stream)
                    else:
                        streams.append(stream)
                if streams and rnd.random() < 0.7:
                    conn.read_response(streams[0])
                for stream in streams:
                    if rnd.random() < 0.2:
                        conn.reset(stream)
                    elif rnd.random() < 0.5:
                        conn.read_response(stream)
                        if stream not in conn.was_reset:
                            seen.append((b'"usage"' in conn.data[stream]
                                         and 200, True))
        except (OSError, HarnessError):
            pass


@pytest.mark.parametrize('kind', ['ledger', 'cycles'])
@pytest.mark.parametrize('buffering', ['on', 'off', 'h2'])
def test_campaign(nginx, provider, kind, buffering):
    provider.default = Misfortune(SEED)
    rnd = random.Random(SEED)
    scopes = {'tenant:t%d' % n: 10 ** 10 for n in range(TENANTS)}

    with authority(kind, scopes) as who:
        h2 = buffering == 'h2'
        ng = who.attach(nginx(h2=h2, **who.gateway(provider, location='''
            proxy_buffering %s;
            proxy_read_timeout 150ms;
            cycles_timeout 300ms;
            cycles_ttl 5s;
            cycles_grace_period 0;
            cycles_retry attempts=20 initial=10ms max=50ms;
        ''' % ('off' if h2 else buffering))))

        if who.remote:
            for _ in range(REQUESTS // 4):
                who.cycles.fault(rnd.choice(('reserve', 'commit', 'release')),
                                 rnd.choice(FAULTS), skip=rnd.randrange(4))

        seen = []
        threads = [threading.Thread(target=h2_client if h2 else client, args=(
            ng, number, REQUESTS // CLIENTS, seen))
            for number in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        who.settled(30)
        sums = who.audit()

        # a client that got all of a good reply has paid for it

        good = sum(1 for status, complete in seen
                   if status == 200 and complete)
        assert good > REQUESTS // 20
        assert sums['charged'] >= good * cost(10, 0)
        assert sums['committed'] > 0 and sums['released'] > 0
        if not who.remote:
            assert sums['expired'] == 0

        ng.quit(30 * gateway.SCALE)
