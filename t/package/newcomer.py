#!/usr/bin/env python3
# Copyright (C) nginx-cycles authors

"""What README.md tells a newcomer, done in a bare root by a shell:

    unshare -n t/package/newcomer.py ROOT FILE.deb

The root has the network of nobody else: api.openai.com is a stand-in here.
What apt-get installs has been downloaded before, so the time is that of a
machine with a fast network."""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(TOP / 't' / 'lib'))

from tls import TlsProvider, make_certificates      # noqa: E402


HOST = 'api.openai.com'

NOISE = (r'\(Reading database|Selecting|Preparing|Unpacking|Setting up'
         r'|  |Processing|Running hooks|Updating cert')


def commands():
    """The blocks of README.md that a newcomer runs, one after the other."""

    text = (TOP / 'README.md').read_text()
    blocks = re.findall(r'<!-- test: newcomer -->\n```sh\n(.*?)^```$', text,
                        re.M | re.S)
    assert len(blocks) >= 2, 'README.md has no commands for a newcomer'
    return blocks


class Root:
    def __init__(self, path):
        self.path = pathlib.Path(path)

    def run(self, script):
        """As root in a shell, which stops at what fails: its output."""

        done = subprocess.run(
            [str(TOP / 'tools/root.sh'), 'run', str(self.path), 'bash',
             '-euxo', 'pipefail', '-c', script], cwd=TOP,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            universal_newlines=True)
        for line in done.stdout.splitlines():
            if not re.match(NOISE, line):
                print('    ' + line, flush=True)
        if done.returncode:
            sys.exit('it ended with %d' % done.returncode)
        return done.stdout

    def read(self, name):
        return (self.path / name).read_text()


def check(what, good):
    print('%s %s' % ('ok' if good else 'NOT ok', what))
    if not good:
        sys.exit(1)


def prepare(root, deb, certificates):
    """A machine that has the file and can reach the provider."""

    place = root.path / 'root/build/package'
    place.mkdir(parents=True, exist_ok=True)
    shutil.copy(deb, place)

    (root.path / 'etc/hosts').write_text('127.0.0.1 localhost %s\n' % HOST)
    shutil.copy(certificates / 'ca.pem',
                root.path / 'usr/local/share/ca-certificates/test.crt')

    # there is no init system, and without one packages start what they bring
    # only if they are told that they may

    policy = root.path / 'usr/sbin/policy-rc.d'
    policy.write_text('#!/bin/sh\nexit 0\n')
    policy.chmod(0o755)


def main():
    root, deb = Root(sys.argv[1]), sys.argv[2]
    subprocess.run(['ip', 'link', 'set', 'lo', 'up'], check=True)

    with tempfile.TemporaryDirectory() as path:
        certificates = make_certificates(pathlib.Path(path), [HOST])
        prepare(root, deb, certificates)

        with TlsProvider(certificates, 443) as provider:
            install, use = commands()[:2]

            # one shell from the start to the end: nginx ends with it

            start = time.monotonic()
            text = root.run('export OPENAI_API_KEY=sk-newcomer; cd /root\n'
                            + install + PAUSE + use
                            + 'date +%s.%N > /root/end\n' + AFTER)
            took = float(root.read('root/end')) - (
                time.time() - (time.monotonic() - start))

            verify(text, provider)

    print('ok from the file to the first requests: %.1f s' % took)


# a reload is over when the new worker processes are there; a person does not
# see that

PAUSE = r'''
    { set +x; for i in {1..200}; do
        (: < /dev/tcp/127.0.0.1/8080) && break; sleep 0.05
    done; set -x; } 2> /dev/null
'''

# what is asked of the machine after that, and how it gets rid of the package

AFTER = r'''
    echo '== after'
    sqlite=$(curl -s 'http://127.0.0.1:8080/cycles?format=json')
    echo "status: $sqlite"
    ls -l /etc/nginx/modules-enabled/50-mod-http-cycles.conf
    ls /var/lib/nginx/cycles
    rm /etc/nginx/conf.d/cycles.conf
    apt-get -y purge libnginx-mod-http-cycles
    nginx -t
    ls -A /etc/nginx/modules-enabled /etc/nginx/cycles || true
    ls /var/lib/nginx/cycles
'''


def verify(text, provider):
    before, after = text.split("+ echo '== after'", 1)
    replies = re.findall(r'^HTTP/1\.1 (\d+)', before, re.M)
    decisions = re.findall(r'^X-Cycles-Decision: (\w+)', before, re.M)

    check('the first request is allowed, one without a budget is denied',
          replies == ['200', '429'] and decisions == ['ALLOW', 'DENY'])
    check('the provider got one request, with the key of the client',
          [r.header('Authorization') for r in provider.requests]
          == ['Bearer sk-newcomer'])
    check('the reply says what is left', re.search(
        r'^X-Cycles-Remaining: \d+', before, re.M))
    check('10 and 5 tokens of gpt-4o-mini are 450 micro-cents', re.search(
        r'"scope_path":\s*"tenant:acme".*?"spent":\s*'
        r'\{[^}]*"amount":\s*450\b', after, re.S))
    check('the module was enabled', 'modules-available/mod-http-cycles.conf'
          in after)
    check('a configuration without it is right after its removal',
          'test is successful' in after)

    rest = after.rsplit('test is successful', 1)[1]
    check('nothing loads the module', '50-mod-http-cycles' not in rest)
    check('what was spent stays', re.search(r'^log-\d+\.bin', rest, re.M))


if __name__ == '__main__':
    main()
