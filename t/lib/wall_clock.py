# Copyright (C) nginx-cycles authors

"""The time of day as one nginx sees it: the library of wall_clock.c in its
processes.  The fixture "clock" (t/conftest.py) is one.

    ng = nginx(env=clock.env(), ...)
    clock.jump(3600) ... clock.jump(-7200)
"""

import os
import shutil
import struct
import subprocess
import tempfile
import time

from gateway import ROOT
from slow_disk import runtime


class Clock:

    def __init__(self):
        self.ahead = 0
        self.dir = tempfile.mkdtemp(prefix='cycles-clock-', dir='/tmp')
        self.file = os.path.join(self.dir, 'ahead')
        self.library = os.path.join(self.dir, 'wall_clock.so')
        subprocess.run(['gcc', '-shared', '-fPIC', '-O1', '-o', self.library,
                        os.path.join(ROOT, 't', 'lib', 'wall_clock.c'),
                        '-ldl'], check=True)
        self._write()

    def _write(self):
        """In one piece, into the file that is mapped."""

        mode = os.O_WRONLY | os.O_CREAT
        fd = os.open(self.file, mode, 0o644)
        os.pwrite(fd, struct.pack('q', self.ahead), 0)
        os.close(fd)

    def env(self):
        return {'LD_PRELOAD': ' '.join(runtime() + [self.library]),
                'WALL_CLOCK': self.file}

    def jump(self, seconds):
        """From now on it is so much later; earlier, if negative."""

        self.ahead += seconds
        self._write()

    def time(self):
        return time.time() + self.ahead

    def close(self):
        shutil.rmtree(self.dir)
