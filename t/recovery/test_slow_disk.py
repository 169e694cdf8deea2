# Copyright (C) nginx-cycles authors

"""A worker that has to go while its journal waits for the disk: what was to be
written is written, and nothing is left behind."""

import os
import signal
import subprocess

import pytest

from gateway import wait_until
from authorities import Server, cost
from journal import Journal


BUDGET = 10 ** 9


@pytest.fixture
def start(nginx, provider, disk):
    opened = []

    def begin(**kw):
        who = Server({'tenant:acme': BUDGET})
        opened.append(who.__enter__())
        ng = who.attach(nginx(env=dict(disk.env(), **kw), workers=1,
                              **who.gateway(
            provider, location='cycles_timeout 2s;',
            http='cycles_journal path=%%DIR%%/journal replay=100ms;')))
        return ng, who, Journal(ng.path('journal'))

    yield begin

    for who in opened:
        who.__exit__()


def settle_two(ng, who, disk):
    """The thread writes the record of the first, that of the second waits
    for its turn."""

    disk.hold()
    assert ng.chat(tenant='acme').status == 200
    disk.wait_reached()
    assert ng.chat(tenant='acme').status == 200
    assert who.cycles.count('commit') == 0


def test_quit(start, disk):
    ng, who, journal = start()
    settle_two(ng, who, disk)
    os.kill(ng.master, signal.SIGQUIT)
    with pytest.raises(subprocess.TimeoutExpired):
        ng.process.wait(0.3)
    disk.go()
    assert ng._wait_end(None) == 0
    ng.check()
    assert journal.files() == []
    assert who.audit()['charged'] == 2 * cost(10, 5)


def test_stop(start, disk):
    """What is under way is told of nowhere else: the next start settles it."""

    ng, who, journal = start()
    ng.env['ASAN_OPTIONS'] = ng._environ(leaks=False)['ASAN_OPTIONS']
    ng.stop()
    ng.start()
    settle_two(ng, who, disk)
    os.kill(ng.master, signal.SIGTERM)
    wait_until(lambda: 'signal 15' in ng.error_log())
    disk.go()
    ng._wait_end(None)
    assert who.cycles.count('commit') == 0
    assert len(journal.files()) == 2

    ng.start()
    wait_until(lambda: who.cycles.count('commit') == 2)
    journal.wait_empty()
    ng.quit()
    assert who.audit()['charged'] == 2 * cost(10, 5)
