# Copyright (C) nginx-cycles authors

"""SDKs for Node, in a process of their own: what it is asked and what it
answers are lines of JSON, which begin with the number of a call."""

import json
import os
import subprocess
import threading

from gateway import ROOT, TIMEOUT


class NodeProcess:
    """A script of t/e2e.  For its events: heard(call, event); what has not
    ended when the script does: died(call), which must end it."""

    script = None

    def environ(self):
        return os.environ

    def __enter__(self):
        self.calls = []
        self.process = subprocess.Popen(
            ['node', os.path.join(ROOT, 't', 'e2e', self.script)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            bufsize=1, env=self.environ())
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

    def ask(self, call, **message):
        message['id'] = len(self.calls)
        self.calls.append(call)
        self.process.stdin.write(json.dumps(message) + '\n')
        self.process.stdin.flush()
        return call

    def _read(self):
        try:
            for line in self.process.stdout:
                event = json.loads(line)
                self.heard(self.calls[event['id']], event)
        finally:
            for call in self.calls:
                self.died(call)
