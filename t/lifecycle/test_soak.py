# Copyright (C) nginx-cycles authors

"""Streams, plain requests and clients that leave, for a long time, with a
reload every so often: memory and descriptors stay, and all adds up.

SOAK_SECONDS (12) says how long, SOAK_RELOAD (3) how often it is reloaded;
"make soak" takes half an hour.
"""

import os
import random
import threading
import time

import pytest

import gateway
from gateway import Conn, HarnessError, build_request, chat, chat_request, \
    chat_stream, wait_until
from authorities import authority, cost
from journal import Journal


SECONDS = float(os.environ.get('SOAK_SECONDS') or 12)
RELOAD = float(os.environ.get('SOAK_RELOAD') or 3)

CLIENTS = 4
TENANTS = 5

# what one generation of processes may differ from another one

SLACK_KB = 4096
SLACK_FDS = 16

FIRST_SEGMENT = 'ledger/log-%020d.bin' % 1


def reply(rq):
    stream = bool((rq.json or {}).get('stream'))
    return (chat_stream(12) if stream else chat())(rq)


class Client(threading.Thread):

    def __init__(self, ng, number, end):
        super().__init__()
        self.ng = ng
        self.rnd = random.Random(number)
        self.end = end
        self.whole = 0
        self.left = 0
        self.failed = []
        self.pace = threading.Event()

    def run(self):
        conn = None
        while time.monotonic() < self.end:
            self.pace.wait(self.rnd.random() * 0.04)
            path, headers, body = chat_request(
                tenant='t%d' % self.rnd.randrange(TENANTS),
                stream=self.rnd.random() < 0.5, max_tokens=100)
            data = build_request('POST', path, headers, body)
            try:
                conn = conn or Conn(self.ng.port)
                conn.send(data)
                if self.rnd.random() < 0.2:
                    conn.read_head()
                    conn.reset()
                    conn = None
                    self.left += 1
                    continue
                r = conn.read_response()
                if r.status == 200 and r.complete:
                    self.whole += 1
                else:
                    self.failed.append(r)
                if r.header('connection') == 'close':
                    conn.close()
                    conn = None
            except (OSError, HarnessError):

                # an idle connection may be closed by a reload at any time

                conn = None
        if conn:
            conn.close()


def resident(pid):
    """Of its own: a ledger's zone fills until it has its size, and each page
    of it counts for all who have touched it."""

    with open('/proc/%d/status' % pid) as file:
        for line in file:
            if line.startswith('RssAnon'):
                return int(line.split()[1])
    return 0


def descriptors(pid):
    return len(os.listdir('/proc/%d/fd' % pid))


def flat(values, slack):
    """The last quarter is no more than the first but one, and a slack: a
    process is at its size after a few reloads."""

    quarter = max(len(values) // 4, 1)
    first = sorted(values[quarter:2 * quarter] or values[:1])
    last = sorted(values[-quarter:])
    return last[len(last) // 2] <= first[len(first) // 2] + slack


@pytest.mark.parametrize('kind', ['ledger', 'cycles'])
def test_soak(nginx, provider, kind):
    provider.default = reply
    scopes = {'tenant:t%d' % n: 10 ** 12 for n in range(TENANTS)}

    with authority(kind, scopes) as who:
        ng = who.attach(nginx(**who.gateway(
            provider, location='''
                proxy_buffering off;
                cycles_timeout 60s;
                cycles_breaker off;
                cycles_retry initial=20ms;
            ''', http='''
                cycles_journal path=%%DIR%%/journal replay=1s;
            ''', log_level='warn')))
        journal = Journal(ng.path('journal'))

        end = time.monotonic() + SECONDS
        clients = [Client(ng, n, end) for n in range(CLIENTS)]
        for client in clients:
            client.start()

        master, fds, workers = [], [], []
        pace = threading.Event()
        while time.monotonic() < end:
            pace.wait(min(RELOAD, max(end - time.monotonic(), 0.01)))
            workers += [resident(pid) for pid in ng.workers()]

            # one generation at a time: another has as many descriptors

            ng.reload(wait_old=True)
            master.append(resident(ng.master))
            fds.append(descriptors(ng.master))
        for client in clients:
            client.join()

        journal.wait_empty(60)
        wait_until(lambda: who.live() == 0, 60, 'nothing live')

        # a ledger removes what it has folded: not all can be followed then

        if kind != 'ledger' or os.path.exists(ng.path(FIRST_SEGMENT)):
            who.audit()
        budgets = [who.budget(scope) for scope in scopes]
        assert [b['reserved'] for b in budgets] == [0] * TENANTS
        charged = sum(b['spent'] + b['debt'] for b in budgets)

        assert [r for c in clients for r in c.failed] == []
        whole = sum(c.whole for c in clients)
        left = sum(c.left for c in clients)
        assert whole > 0 and left > 0

        # each whole reply is paid, and of the others what they have cost

        assert charged >= whole * cost(10, 5)
        assert charged <= (whole + left + 4 * len(master)) * cost(10, 12)

        print('# %d whole replies, %d clients left, %d reloads; master %d to '
              '%d kB, workers up to %d kB, %d to %d descriptors' % (
                  whole, left, len(master), master[0], master[-1],
                  max(workers), fds[0], fds[-1]))
        if not os.environ.get('ASAN_OPTIONS'):
            assert flat(master, SLACK_KB), master
            assert flat(workers, SLACK_KB), workers
        assert flat(fds, SLACK_FDS), fds
