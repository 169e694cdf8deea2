# Copyright (C) nginx-cycles authors

"""A disk that takes its time or fails, for one nginx: the library of
slow_sync.c in its processes.  The fixture "disk" (t/conftest.py) is one.

    ng = nginx(env=disk.env(), ...)
    disk.hold() ... disk.wait_reached() ... disk.go()
"""

import os

from gateway import wait_until
from preload import Preload


class Disk(Preload):
    """hold(): from now on no sync returns; go(): they do again; fail() until
    mend().  hold('.read'), hold('.write'): no read of the log, or write to
    it, returns.  fail('.full'): the
    log can't be written to; hold('.kill'): who writes to it is killed."""

    def __init__(self):
        super().__init__('slow_sync')

        # the workers' user makes files there

        os.chmod(self.dir, 0o777)

        self.gate = os.path.join(self.dir, 'gate')

    def env(self):
        return super().env(SLOW_SYNC=self.gate)

    def note(self):
        """From now on fail_power() knows what has been synced."""

        with open(self.gate + '.log', 'w'):
            pass
        os.chmod(self.gate + '.log', 0o666)

    def fail_power(self, paths):
        """The files lose what was not synced; all processes are dead."""

        synced = {}
        with open(self.gate + '.log') as file:
            for line in file:
                path, _, size = line.rpartition(' ')
                synced[path] = max(synced.get(path, 0), int(size))

        with open(self.gate + '.log', 'w') as log:
            for path in paths:
                size = min(synced.get(path, 0), os.path.getsize(path))
                with open(path, 'r+b') as file:
                    file.truncate(size)
                log.write('%s %d\n' % (path, size))

    def hold(self, what=''):
        open(self.gate + what, 'w').close()

    def wait_reached(self, what=''):
        wait_until(lambda: os.path.exists(self.gate + what + '.here'))

    def fail(self, what='.fail'):
        self.hold(what)

    def mend(self, what='.fail'):
        os.unlink(self.gate + what)

    def count_writes(self):
        """From now on writes() has the sizes of those to the log."""

        with open(self.gate + '.writes', 'w'):
            pass
        os.chmod(self.gate + '.writes', 0o666)

    def writes(self):
        with open(self.gate + '.writes') as file:
            return [int(line.rpartition(' ')[2]) for line in file]

    def go(self):
        for what in '', '.read', '.write', '.kill':
            if os.path.exists(self.gate + what):
                os.unlink(self.gate + what)

    def close(self):
        self.go()
        super().close()
