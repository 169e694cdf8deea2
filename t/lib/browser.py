# Copyright (C) nginx-cycles authors

"""Debian's Chromium without a window, driven through its DevTools protocol
over a pair of pipes (standard library only).

    with Browser() as browser:
        page = browser.page(width=1280, height=800)
        page.open('http://127.0.0.1:8080/cycles')
        page.wait('document.title === "Cycles"')
        page.js('1 + 1')                    # the value of an expression
        page.key('ArrowDown')
        page.shot('build/screenshots/x.png')
        page.errors                         # of scripts, and of the policy
        page.requests                       # URLs that were asked for
"""

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time

from gateway import HarnessError, TIMEOUT


CHROMIUM = os.environ.get('CHROMIUM') or shutil.which('chromium')

KEYS = {'Enter': 13, 'End': 35, 'Home': 36, 'ArrowLeft': 37, 'ArrowUp': 38,
        'ArrowRight': 39, 'ArrowDown': 40, 'Tab': 9, ' ': 32}


class Browser:

    def __init__(self):
        if not CHROMIUM:
            raise HarnessError('there is no chromium: install Debian\'s '
                               'package chromium, or set CHROMIUM')
        self.dir = tempfile.mkdtemp(prefix='cycles-browser-', dir='/tmp')
        self.number = 0
        self.pages = {}
        self.buffer = b''

        to_read, self.out = os.pipe()
        self.inp, to_write = os.pipe()

        # it wants to read from 3 and to write to 4

        script = 'exec 3<&%d 4>&%d; exec "$0" "$@"' % (to_read, to_write)
        self.process = subprocess.Popen(
            ['/bin/bash', '-c', script, CHROMIUM, '--headless=new',
             '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage',
             '--no-first-run', '--disable-background-networking',
             '--disable-component-update', '--disable-sync',
             '--hide-scrollbars', '--force-color-profile=srgb',
             '--user-data-dir=' + self.dir, '--remote-debugging-pipe',
             'about:blank'],
            pass_fds=(to_read, to_write), stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env=dict(os.environ, HOME=self.dir), start_new_session=True)
        os.close(to_read)
        os.close(to_write)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        try:
            self.call('Browser.close')
            self.process.wait(10)
        except (HarnessError, OSError, subprocess.TimeoutExpired):
            os.killpg(self.process.pid, 9)
            self.process.wait()
        os.close(self.inp)
        os.close(self.out)
        shutil.rmtree(self.dir, ignore_errors=True)

    def call(self, method, params=None, session=None, timeout=None):
        self.number += 1
        message = {'id': self.number, 'method': method,
                   'params': params or {}}
        if session:
            message['sessionId'] = session
        os.write(self.out, json.dumps(message).encode() + b'\0')

        deadline = time.monotonic() + (timeout or 3 * TIMEOUT)
        wanted = self.number
        while True:
            answer = self._read(deadline)
            if answer is None:
                raise HarnessError('chromium: no answer to ' + method)
            if answer.get('id') != wanted:
                continue
            if 'error' in answer:
                raise HarnessError('chromium: %s: %s' % (method,
                                                         answer['error']))
            return answer['result']

    def _read(self, deadline):
        """The next answer; events are kept on their way."""

        while b'\0' not in self.buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.inp], [], [], left)[0]:
                return None
            data = os.read(self.inp, 1 << 20)
            if not data:
                raise HarnessError('chromium has ended')
            self.buffer += data

        text, _, self.buffer = self.buffer.partition(b'\0')
        message = json.loads(text)
        page = self.pages.get(message.get('sessionId'))
        if page and 'method' in message:
            page.event(message['method'], message['params'])
        return message

    def page(self, width=1280, height=900, phone=False, dark=False):
        target = self.call('Target.createTarget', {'url': 'about:blank'})
        session = self.call('Target.attachToTarget', {
            'targetId': target['targetId'], 'flatten': True})['sessionId']
        page = Page(self, session)
        self.pages[session] = page
        for domain in 'Page', 'Runtime', 'Network', 'Log':
            page.call(domain + '.enable')
        page.resize(width, height, phone)
        page.dark(dark)
        return page


class Page:

    def __init__(self, browser, session):
        self.browser = browser
        self.session = session
        self.errors = []
        self.requests = []

    def event(self, method, params):
        if method == 'Runtime.exceptionThrown':
            self.errors.append(str(params['exceptionDetails']))
        elif method == 'Log.entryAdded':
            if params['entry']['level'] == 'error':
                self.errors.append(params['entry']['text'])
        elif method == 'Network.requestWillBeSent':
            self.requests.append(params['request']['url'])

    def call(self, method, params=None):
        return self.browser.call(method, params, self.session)

    def resize(self, width, height, phone=False):
        self.call('Emulation.setDeviceMetricsOverride', {
            'width': width, 'height': height, 'mobile': phone,
            'deviceScaleFactor': 2 if phone else 1})

    def dark(self, dark=True):
        self.call('Emulation.setEmulatedMedia', {'features': [
            {'name': 'prefers-color-scheme',
             'value': 'dark' if dark else 'light'}]})

    def open(self, url):
        self.call('Page.navigate', {'url': url})
        self.wait('location.href !== "about:blank"'
                  ' && document.readyState === "complete"')

    def js(self, expression):
        result = self.call('Runtime.evaluate', {
            'expression': expression, 'returnByValue': True,
            'awaitPromise': True})
        if 'exceptionDetails' in result:
            raise HarnessError('%s: %s' % (expression,
                                           result['exceptionDetails']))
        return result['result'].get('value')

    def wait(self, expression, timeout=None):
        """Until the expression is true."""

        deadline = time.monotonic() + (timeout or 2 * TIMEOUT)
        while not self.js(expression):
            if time.monotonic() > deadline:
                raise HarnessError('never true: ' + expression)
            select.select([], [], [], 0.02)

    def key(self, key):
        for kind in 'rawKeyDown', 'keyUp':
            self.call('Input.dispatchKeyEvent', {
                'type': kind, 'key': key, 'code': key,
                'windowsVirtualKeyCode': KEYS[key]})

    def type(self, text):
        self.call('Input.insertText', {'text': text})

    def text(self, selector):
        return self.js('document.querySelector(%s).innerText'
                       % json.dumps(selector))

    def texts(self, selector):
        return self.js('[...document.querySelectorAll(%s)]'
                       '.map((e) => e.innerText)' % json.dumps(selector))

    def shot(self, path, full=True):
        """All of the page, or what fits into the window."""

        data = self.call('Page.captureScreenshot', {
            'captureBeyondViewport': full})['data']
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, 'wb') as file:
            file.write(base64.b64decode(data))
