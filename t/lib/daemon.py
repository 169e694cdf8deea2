# Copyright (C) nginx-cycles authors

"""An nginx in the background, whose binary can be upgraded.

    ng = Daemon(http=..., server=...).start()
    old, ng.pid = ng.pid, ng.upgrade()       # USR2; both masters serve now
    ng.end(old)                              # QUIT, and waits for its end
    ng.finish()                              # whoever still runs
"""

import contextlib
import glob
import os
import signal
import subprocess

import gateway
from gateway import Nginx, process_title, wait_until


def running(pid):
    """A zombie's parent has only not been told of its end yet."""

    return process_title(pid) not in ('', 'zombie')


def children(pid):
    try:
        with open('/proc/%d/task/%d/children' % (pid, pid)) as file:
            return [int(p) for p in file.read().split()]
    except OSError:
        return []


class Daemon(Nginx):
    """Without a parent, and told so: only then nginx changes its binary, and
    lets its workers go."""

    pid = None

    def __init__(self, **kw):
        self.pids = set()
        super().__init__(**kw)

    @property
    def master(self):
        return self.pid

    def _started(self, old=None):
        try:
            with open(self.path('nginx.pid')) as file:
                pid = int(file.read())
        except (OSError, ValueError):
            return None
        ready = pid != old and len(self.workers(pid)) == self.nworkers
        return pid if ready else None

    def write_conf(self):
        super().write_conf()
        with open(self.path('nginx.conf')) as file:
            text = file.read()
        assert 'daemon off;' in text
        with open(self.path('nginx.conf'), 'w') as file:
            file.write(text.replace('daemon off;', ''))

    def start(self):
        gateway._running.add(self)
        subprocess.run(self._argv(), timeout=gateway.TIMEOUT,
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, env=self._environ(),
                       check=True)
        self.pid = wait_until(self._started, what='nginx')
        self.pids.add(self.pid)
        return self

    def upgrade(self):
        """A new binary beside this one; returns its master's pid."""

        self.send_signal(signal.SIGUSR2)
        pid = wait_until(lambda: self._started(self.pid),
                         what='the new nginx')
        self.pids.add(pid)
        return pid

    def workers(self, pid=None):
        """Of one of the masters, those that are not shutting down."""

        return [p for p in children(pid or self.pid)
                if 'worker process' in process_title(p)
                and 'shutting' not in process_title(p)]

    def winch(self, pid):
        """The workers of this master end, it stays."""

        old = self.workers(pid)
        os.kill(pid, signal.SIGWINCH)
        wait_until(lambda: not any(running(p) for p in old),
                   what='the end of the workers')

    def hup(self, pid):
        """A master whose workers have ended gets some again."""

        os.kill(pid, signal.SIGHUP)
        wait_until(lambda: len(self.workers(pid)) == self.nworkers,
                   what='workers')

    def end(self, pid, number=signal.SIGQUIT):
        os.kill(pid, number)
        wait_until(lambda: not running(pid), what='nginx to end')

    def kill9_of(self, pid):
        """A master and all its processes at once; the master first, for it
        would make new workers in the place of the ones that die."""

        pids = [pid] + [p for p in children(pid) if p not in self.pids]
        self.killed = True
        self.allow += [r'process %d exited on signal 9' % p for p in pids]
        for p in pids:
            os.kill(p, signal.SIGKILL)
        wait_until(lambda: not any(running(p) for p in pids),
                   what='the end of what was killed')

    def finish(self):
        for pid in sorted(self.pids):
            if running(pid):
                self.end(pid)

    def stop(self, timeout=None):
        for pid in sorted(self.pids):
            if running(pid):
                self.end(pid, signal.SIGTERM)

    def kill9(self):
        for pid in sorted(self.pids):
            if running(pid):
                self.kill9_of(pid)
        for pid in set(self._strays()) - {os.getpid()}:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _strays(self):
        """What a test that failed on the way has left: whoever writes to
        this log."""

        log = self.path('error.log')
        for name in glob.glob('/proc/[0-9]*/fd/*'):
            try:
                if os.readlink(name) == log:
                    yield int(name.split('/')[2])
            except OSError:
                pass
