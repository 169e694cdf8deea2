#!/usr/bin/env python3
# Copyright (C) nginx-cycles authors

"""docker/Dockerfile without an engine, for want of one: each stage is a fresh
root, each RUN a shell in it, and CMD is started as USER says:

    t/package/image.py build ROOTS      the stages, with the network
    unshare -n t/package/image.py run ROOTS

What an engine does beyond that – layers, its cache, isolation – is not
tried."""

import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(TOP / 't' / 'lib'))

SUITES = {'debian:bookworm-slim': 'bookworm'}
PORT = 8080


def instructions():
    text = re.sub(r'^\s*#.*\n', '', (TOP / 'docker/Dockerfile').read_text(),
                  flags=re.M)
    for line in re.sub(r'\\\n', ' ', text).splitlines():
        if line.strip():
            yield line.split(None, 1)


def stages():
    """[(suite, [instruction])], the last one is the image."""

    found = []
    for word, rest in instructions():
        if word == 'FROM':
            found.append((SUITES[rest.split()[0]], []))
        else:
            found[-1][1].append((word, rest))
    return found


def enter(root, *args):
    return [str(TOP / 'tools/root.sh'), 'run', str(root), *args]


def place(roots, number):
    suite = stages()[number][0]
    return roots / suite / ('image%d' % number)


def copy(roots, root, directory, rest):
    *names, target = shlex.split(rest)
    source = TOP
    if names[0].startswith('--from='):
        source = place(roots, 0)
        names = [name.lstrip('/') for name in names[1:]]

    whole = root / os.path.join(directory, target).lstrip('/')
    if target.endswith('/'):
        whole.mkdir(parents=True, exist_ok=True)

    for name in names:
        if (source / name).is_dir():
            shutil.copytree(source / name, whole, dirs_exist_ok=True)
        else:
            shutil.copy(source / name, whole)


def build(roots):
    for number, (suite, body) in enumerate(stages()):
        root = place(roots, number)
        directory = '/'
        subprocess.run([str(TOP / 'tools/root.sh'), 'fresh', suite,
                        root.name], check=True, cwd=TOP)

        policy = root / 'usr/sbin/policy-rc.d'
        policy.write_text('#!/bin/sh\nexit 101\n')
        policy.chmod(0o755)

        for word, rest in body:
            if word == 'WORKDIR':
                directory = rest
                (root / directory.lstrip('/')).mkdir(exist_ok=True)
            elif word == 'COPY':
                copy(roots, root, directory, rest)
            elif word == 'RUN':
                print('    RUN ' + rest[:60], flush=True)
                done = subprocess.run(
                    enter(root, 'sh', '-e', '-c', 'cd %s; %s' % (
                        directory, rest)), cwd=TOP, stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT)
                if done.returncode:
                    sys.stdout.buffer.write(done.stdout[-3000:])
                    sys.exit('RUN ended with %d' % done.returncode)


def run(roots):
    import gateway
    from gateway import FakeProvider

    subprocess.run(['ip', 'link', 'set', 'lo', 'up'], check=True)
    number = len(stages()) - 1
    root = place(roots, number)
    said = dict(stages()[number][1])
    user, group = said['USER'].split(':')
    command = re.findall(r'"([^"]*)"', said['CMD'])

    (root / 'etc/hosts').write_text('127.0.0.1 localhost provider\n')
    gateway.free_port = lambda: 4010

    # engines give the output to the user as well

    log, output = os.pipe()
    os.fchown(output, int(user), int(group))

    with FakeProvider() as provider:
        image = subprocess.Popen(
            enter(root, 'setpriv', '--reuid', user, '--regid', group,
                  '--clear-groups', '--no-new-privs', *command), cwd=TOP,
            stdout=output, stderr=output)
        os.close(output)
        try:
            gateway.wait_until(lambda: listens(gateway))
            one = chat(gateway, 'acme')
            other = chat(gateway, 'nobody')
            gateway.wait_until(lambda: spent(gateway) == 450)
            assert (one.status, other.status) == (200, 429)
            assert len(provider.requests) == 1
        finally:
            with open('/proc/%d/task/%d/children' % (image.pid, image.pid)) \
                    as file:
                os.kill(int(file.read()), signal.SIGQUIT)
            image.wait()
            with os.fdopen(log) as file:
                text = file.read()

    assert ' 200 ALLOW ' in text and ' 429 DENY ' in text, text
    print('ok the image serves as %s, and charges 450' % said['USER'])


def listens(gateway):
    try:
        return gateway.request(PORT, path='/')
    except OSError:
        return None


def spent(gateway):
    page = gateway.request(PORT, path='/cycles?format=json').json
    return gateway.flat_balance(page['budgets'][0])['spent']


def chat(gateway, tenant):
    path, headers, body = gateway.chat_request(tenant=tenant)
    return gateway.request(PORT, 'POST', path, headers, body)


if __name__ == '__main__':
    {'build': build, 'run': run}[sys.argv[1]](pathlib.Path(sys.argv[2]))
