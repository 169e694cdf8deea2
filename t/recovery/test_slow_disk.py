# Copyright (C) nginx-cycles authors

"""The disk of a journal.  A worker that has to go while it waits for the disk
writes what was to be written; a disk that fails, is full, or is not there is
told, and stops no settlement."""

import glob
import os
import pwd
import signal
import subprocess

import pytest

from gateway import Nginx, USER, wait_until
from authorities import Server, cost
from journal import Journal


BUDGET = 10 ** 9


@pytest.fixture
def start(nginx, provider, disk):
    opened = []

    def begin(flush='10s', **kw):
        who = Server({'tenant:acme': BUDGET})
        opened.append(who.__enter__())
        ng = who.attach(nginx(env=dict(disk.env(), **kw), workers=1,
                              **who.gateway(
            provider, location='cycles_timeout 2s;',
            http='cycles_journal path=%%DIR%%/journal replay=100ms '
                 'flush_timeout=' + flush + ';')))
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


def open_files(pid):
    names = []
    for fd in glob.glob('/proc/%d/fd/*' % pid):
        try:
            names.append(os.readlink(fd))
        except FileNotFoundError:
            pass
    return names


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


def test_a_disk_that_stands_still(start, disk):
    """Requests go on, their records are written, and nothing of the journal
    stays open for them: a worker that has no descriptors left would accept
    nobody."""

    n = 100
    ng, who, journal = start()
    settle_two(ng, who, disk)
    worker, = ng.workers()

    for i in range(n):
        assert ng.chat(tenant='acme').status == 200
    wait_until(lambda: len(journal.files()) == n + 2)

    held = [name for name in open_files(worker)
            if name.startswith(journal.path)]
    assert len(held) <= 6, held
    assert who.cycles.count('commit') == 0

    disk.go()
    journal.wait_empty()
    who.settled()
    ng.quit()
    assert who.audit()['charged'] == (n + 2) * cost(10, 5)


def test_quit_that_does_not_wait(start, disk):
    """The time is over before the disk has them: they get there, and no
    farther; the next start settles them."""

    ng, who, journal = start(flush='100ms')
    settle_two(ng, who, disk)
    os.kill(ng.master, signal.SIGQUIT)
    ng.wait_error_log('the journal keeps what is not settled')
    disk.go()
    assert ng._wait_end(None) == 0
    ng.check()
    assert who.cycles.count('commit') == 0
    assert len(journal.files()) == 2

    ng.start()
    journal.wait_empty()
    who.settled()
    ng.quit()
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


def test_a_disk_that_fails(start, provider, disk):
    """The commit is sent all the same, now and after an answer was lost."""

    ng, who, journal = start()
    ng.allow.append('could not write the record')
    disk.fail()
    who.cycles.fault('commit', 'drop_after')
    assert ng.chat(tenant='acme').status == 200
    who.settled()
    ng.wait_error_log(r'\[crit\].*the journal in "%s" could not write the '
                      r'record of reservation .*\(5: ' % ng.path('journal'))
    journal.wait_empty()
    assert who.budget('tenant:acme')['spent'] == cost(10, 5)

    # once it works again, records are there again

    disk.mend()
    recorded(ng, who, provider, journal)
    assert who.check_sums()['charged'] == 2 * cost(10, 5)


def recorded(ng, who, provider, journal):
    """A settlement that is in the journal until it is answered."""

    who.cycles.fault('commit', 'hold')
    count = who.cycles.count('commit')
    assert ng.chat(tenant='acme').status == 200
    who.cycles.wait(lambda: who.cycles.count('commit') == count + 1)
    assert len(journal.files()) == 1
    who.cycles.release()
    journal.wait_empty()
    who.settled()


def test_a_full_disk(provider):
    if os.geteuid() != 0:
        pytest.skip('a small disk needs root')

    user = pwd.getpwnam(USER)
    with Server({'tenant:acme': BUDGET}) as who:
        ng = who.attach(Nginx(**who.gateway(
            provider, location='cycles_timeout 2s;', http='''
                cycles_journal path=%%DIR%%/ledger/journal replay=100ms;
            ''', allow=['could not write the record'])))
        path = ng.path('ledger')
        done = subprocess.run(
            ['mount', '-t', 'tmpfs', '-o', 'size=1m,mode=700,uid=%d,gid=%d'
             % (user.pw_uid, user.pw_gid), 'tmpfs', path],
            capture_output=True)
        if done.returncode != 0:
            ng.close()
            pytest.skip('cannot mount: %s' % done.stderr)

        journal = Journal(ng.path('ledger/journal'))
        try:
            ng.start()
            recorded(ng, who, provider, journal)

            with pytest.raises(OSError):
                with open(ng.path('ledger/ballast'), 'wb',
                          buffering=0) as file:
                    while file.write(b'x' * 4096) == 4096:
                        pass
                    raise OSError
            assert ng.chat(tenant='acme').status == 200
            who.settled()
            ng.wait_error_log(r'\[crit\].*\(28: No space left on device\)')
            assert journal.files('*') == []

            os.unlink(ng.path('ledger/ballast'))
            recorded(ng, who, provider, journal)
            assert who.audit()['charged'] == 3 * cost(10, 5)
            ng.finish()
            ng.check()
        finally:
            ng.stop()
            subprocess.run(['umount', path], check=True)
            ng.close()


def test_a_journal_that_can_not_be_had(start):
    """This is said at the start, and settlements do without it."""

    ng, who, journal = start()
    ng.quit()
    os.unlink(ng.path('journal/lock'))
    os.mkdir(ng.path('journal/lock'))
    ng.allow.append('cannot be used')
    ng.start()
    ng.wait_error_log(r'\[crit\].*the journal in "[^"]+" cannot be used: '
                      r'.*; settlements go on without it')
    who.cycles.fault('commit', 'drop_after')
    assert ng.chat(tenant='acme').status == 200
    assert who.audit()['charged'] == cost(10, 5)
    assert who.cycles.count('commit') == 2
    assert journal.files() == []
