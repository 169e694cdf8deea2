# Copyright (C) nginx-cycles authors

"""The time of day as one nginx sees it: the library of wall_clock.c in its
processes.  The fixture "clock" (t/conftest.py) is one.

    ng = nginx(env=clock.env(), ...)
    clock.jump(3600) ... clock.jump(-7200)
"""

import os
import struct
import time

from preload import Preload


class Clock(Preload):

    def __init__(self):
        super().__init__('wall_clock')
        self.ahead = 0
        self.file = os.path.join(self.dir, 'ahead')
        self._write()

    def _write(self):
        """In one piece, into the file that is mapped."""

        mode = os.O_WRONLY | os.O_CREAT
        fd = os.open(self.file, mode, 0o644)
        os.pwrite(fd, struct.pack('q', self.ahead), 0)
        os.close(fd)

    def env(self):
        return super().env(WALL_CLOCK=self.file)

    def jump(self, seconds):
        """From now on it is so much later; earlier, if negative."""

        self.ahead += seconds
        self._write()

    def time(self):
        return time.time() + self.ahead
