# Copyright (C) nginx-cycles authors

"""A disk that takes its time or fails, for one nginx: the library of
slow_sync.c in its processes.  The fixture "disk" (t/conftest.py) is one.

    ng = nginx(env=disk.env(), ...)
    disk.hold() ... disk.wait_reached() ... disk.go()
"""

import os
import shutil
import subprocess
import tempfile

from gateway import BINARY, ROOT, wait_until


def runtime():
    """The sanitizer's library, which wants to be the first."""

    done = subprocess.run(['ldd', BINARY], stdout=subprocess.PIPE, check=True)
    return [line.split()[2] for line in done.stdout.decode().splitlines()
            if 'libasan' in line]


class Disk:
    """hold(): from now on no sync returns; go(): they do again; fail() until
    mend().  hold('.read'): no read of the log returns."""

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix='cycles-disk-', dir='/tmp')

        # the workers' user makes files there

        os.chmod(self.dir, 0o777)

        self.gate = os.path.join(self.dir, 'gate')
        self.library = os.path.join(self.dir, 'slow_sync.so')
        subprocess.run(['gcc', '-shared', '-fPIC', '-O1', '-o', self.library,
                        os.path.join(ROOT, 't', 'lib', 'slow_sync.c'),
                        '-ldl'], check=True)

    def env(self):
        return {'LD_PRELOAD': ' '.join(runtime() + [self.library]),
                'SLOW_SYNC': self.gate}

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

    def fail(self):
        self.hold('.fail')

    def mend(self):
        os.unlink(self.gate + '.fail')

    def go(self):
        for what in '', '.read':
            if os.path.exists(self.gate + what):
                os.unlink(self.gate + what)

    def close(self):
        self.go()
        shutil.rmtree(self.dir)
