# Copyright (C) nginx-cycles authors

"""Libraries that come between one nginx and the system: t/lib/NAME.c, built
into a directory of their own.

    library = Preload('same_pid')
    ng = nginx(env=library.env(SAME_PID=1), ...)
    library.close()
"""

import os
import shutil
import subprocess
import tempfile

from gateway import BINARY, ROOT


def runtime():
    """The sanitizer's library, which wants to be the first."""

    done = subprocess.run(['ldd', BINARY], stdout=subprocess.PIPE, check=True)
    return [line.split()[2] for line in done.stdout.decode().splitlines()
            if 'libasan' in line]


class Preload:

    def __init__(self, name):
        self.dir = tempfile.mkdtemp(prefix='cycles-%s-' % name, dir='/tmp')
        self.library = os.path.join(self.dir, name + '.so')
        subprocess.run(['gcc', '-shared', '-fPIC', '-O1', '-o', self.library,
                        os.path.join(ROOT, 't', 'lib', name + '.c'), '-ldl'],
                       check=True)

    def env(self, **variables):
        return {'LD_PRELOAD': ' '.join(runtime() + [self.library]),
                **{name: str(value) for name, value in variables.items()}}

    def close(self):
        shutil.rmtree(self.dir)
