# Copyright (C) nginx-cycles authors

"""Calls of many SDKs at once, for t/e2e/test_sdks_*.py.

    with Python() as sdks:              # or Node
        future = sdks.call('anthropic', base, key, stream, prompt, model)
        text, error = future.result()

An error has the name of the SDK's class, the status, the code, and all of
the text that the SDK has of it.  hasty: fewer tries than the default, for
SDKs that have minutes of them.
"""

import collections
import concurrent.futures
import json
import os
import subprocess
import threading

from gateway import ROOT, TIMEOUT


Error = collections.namedtuple('Error', 'name status code message')


class Python:
    """In threads of this process; one that sleeps for a year is left."""

    def __enter__(self):
        import _sdks_python

        self.run = _sdks_python.call
        return self

    def __exit__(self, *exc):
        pass

    def call(self, sdk, base, key, stream, prompt, model, hasty=False):
        future = concurrent.futures.Future()

        def run():
            future.set_result(self.run(sdk, base, key, stream, prompt,
                                       model))

        threading.Thread(target=run, daemon=True).start()
        return future


class Node:
    """In a process of its own, t/e2e/sdks.cjs."""

    def __enter__(self):
        build = os.environ.get('BUILD') or os.path.join(ROOT, 'build')
        self.calls = []
        self.process = subprocess.Popen(
            ['node', os.path.join(ROOT, 't/e2e/sdks.cjs')],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            bufsize=1, env=dict(os.environ, SDKS=build + '/sdks'))
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *exc):
        self.process.stdin.close()
        try:
            self.process.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.thread.join(TIMEOUT)
        self.process.stdout.close()

    def call(self, sdk, base, key, stream, prompt, model, hasty=False):
        future = concurrent.futures.Future()
        self.calls.append(future)
        self.process.stdin.write(json.dumps({
            'id': len(self.calls) - 1, 'sdk': sdk, 'base': base, 'key': key,
            'stream': stream, 'prompt': prompt, 'model': model,
            'hasty': hasty}) + '\n')
        self.process.stdin.flush()
        return future

    def _read(self):
        for line in self.process.stdout:
            event = json.loads(line)
            error = event.get('error')
            self.calls[event['id']].set_result(
                (event.get('text'), error and Error(**error)))

        for future in self.calls:
            if not future.done():
                future.set_exception(RuntimeError('node has ended'))
