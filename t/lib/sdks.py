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
import os
import threading

from gateway import ROOT
from node import NodeProcess


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
            try:
                future.set_result(self.run(sdk, base, key, stream, prompt,
                                           model))
            except BaseException as exc:
                future.set_exception(exc)

        threading.Thread(target=run, daemon=True).start()
        return future


class Node(NodeProcess):

    script = 'sdks.cjs'

    def environ(self):
        build = os.environ.get('BUILD') or os.path.join(ROOT, 'build')
        return dict(os.environ, SDKS=build + '/sdks')

    def call(self, sdk, base, key, stream, prompt, model, hasty=False):
        return self.ask(concurrent.futures.Future(), sdk=sdk, base=base,
                        key=key, stream=stream, prompt=prompt, model=model,
                        hasty=hasty)

    def heard(self, future, event):
        error = event.get('error')
        future.set_result((event.get('text'), error and Error(**error)))

    def died(self, future):
        if not future.done():
            future.set_exception(RuntimeError('node has ended'))
