# Copyright (C) nginx-cycles authors

"""Helper of t/behaviour: many metered requests through one nginx.

    scene = Scene({'plain': '', 'margin': 'cycles_estimate_margin 2;'})

starts an nginx on an embedded ledger with a location /NAME/ for each, and a
FakeProvider behind it.  Each request is of the next one of some tenants with
a large budget each, so that the tests of a file can share the scene and still
assert exact numbers:

    x = scene.chat('plain', reply=chat(prompt=10, completion=5))
    x.r          the Response
    x.sent       what the provider has received, or None
    x.log        the line in the access log
    x.spent, x.reserved      what the tenant's budget changed by

The oracles know nothing of the C code: cost() prices a usage with exact
fractions from t/prices.json, estimate() is what a request is to reserve.
"""

import decimal
import fractions
import itertools
import json
import os
import re

import gateway
from gateway import ROOT, FakeProvider, Nginx, budgets, wait_until


TENANTS = 20
ALLOCATED = 10 ** 12                     # 10,000 USD: no test gets near it

BASE = '''
    cycles on;
    cycles_authority ledger=main;
    cycles_subject tenant $http_x_tenant;
'''

PROXY = '''
    proxy_pass http://provider;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
'''


# ------------------------------------------------------------------ oracles

MICROCENTS = 10 ** 8

with open(os.path.join(ROOT, 't', 'prices.json')) as _file:
    PRICES = json.load(_file, parse_float=decimal.Decimal)


def price(text):
    if isinstance(text, fractions.Fraction):
        return text
    return fractions.Fraction(decimal.Decimal(str(text)))


def ceil(value):
    return -(-value.numerator // value.denominator)


def cost(model='gpt-4o-mini', prompt=10, completion=5, cached=0, row=None):
    """Micro-cents of a usage; row: instead of that of the price table."""

    row = row or PRICES[model]
    plain = price(row['input_cost_per_token'])
    read = price(row.get('cache_read_input_token_cost', plain))
    output = price(row.get('output_cost_per_token', plain))

    return ceil(MICROCENTS * ((prompt - cached) * plain + cached * read
                              + completion * output))


# Weights of the estimator, in 1/256 of a token, by what a character is and
# what came before it.

LEADS = ((0xcc, 245), (0xd0, 105), (0xd6, 85), (0xe0, 110), (0xe1, 113),
         (0xe2, 158), (0xe3, 1), (0xea, 226), (0xee, 196), (0xf0, 1),
         (0x100, 486))


def kind_of(byte):
    if byte >= 0xc0:
        return 'lead'
    if byte >= 0x80:
        return 'tail'
    char = chr(byte)
    if char in ' \t':
        return 'space'
    if char in '\r\n':
        return 'newline'
    if char.isdigit():
        return 'digit'
    if char.isalpha():
        return 'lower' if char.islower() else 'upper'
    return 'sign'


def text_weight(text):
    before = 'newline'
    total = 0

    for byte in text.encode():
        kind = kind_of(byte)
        if kind == 'lead':
            total += next(w for end, w in LEADS if byte < end)
        elif kind == 'lower':
            total += 24 if before in ('lower', 'upper') else 235
        elif kind == 'upper':
            total += {'upper': 140, 'lower': 177}.get(before, 171)
        elif kind == 'digit':
            total += 8 if before == 'digit' else 394
        elif kind == 'space':
            total += 12 if before in ('space', 'newline') else 1
        elif kind == 'newline':
            total += 1 if before == 'newline' else 257
        elif kind == 'sign':
            total += 4 if before == 'sign' else 144
        before = 'tail' if kind == 'lead' else kind

    return total


def text_tokens(*texts):
    """Tokens of a reply's texts, one for each choice."""

    return -(-sum(text_weight(t) for t in texts) // 256)


def input_tokens(*contents):
    """Tokens of a request with a message for each content."""

    total = sum(text_weight(c) for c in contents)
    return -(-total // 256) + 4 * len(contents) + 3


def estimate(model='gpt-4o-mini', content='Say hello.', output=None, n=1,
             margin='1.25', row=None, unit='USD_MICROCENTS', tokens=None):
    """What a chat request is to reserve."""

    row = row or PRICES[model]
    prompt = input_tokens(content) if tokens is None else tokens
    prompt = ceil(prompt * price(margin))

    if output is None:
        output = int(row['max_output_tokens'])

    if unit == 'TOKENS':
        return prompt + output * n

    return cost(prompt=prompt, completion=output * n, row=row)


# -------------------------------------------------------------------- scene


class Exchange:
    """One request with all that is known of it."""

    def __init__(self, scene, tenant, mark, before):
        self.scene = scene
        self.tenant = tenant
        self.mark = mark
        self.before = before
        self.r = None
        self.requests = []

    @property
    def sent(self):
        return self.requests[0] if self.requests else None

    @property
    def log(self):
        return self.scene.log_of(self.mark)

    def number(self, name):
        value = self.log['cycles_' + name]
        return int(value) if value else None

    def change(self, member):
        after = self.scene.ng.budget('tenant:' + self.tenant)
        return after[member] - self.before[member]

    @property
    def spent(self):
        return self.change('spent')

    @property
    def reserved(self):
        return self.change('reserved')


class Whole(str):
    """A location that does not begin with the usual directives."""


class Provider(FakeProvider):

    def unscript(self):
        """A test that failed must not leave its replies to the next."""

        with self._lock:
            self._script.clear()

    def find(self, exchange):
        """How many requests of this exchange have come."""

        return len([rq for rq in self.requests
                    if rq.path.endswith('mark=%d' % exchange.mark)])


class Scene:

    def __init__(self, locations, http='', server='', fresh=10, base=BASE,
                 entries=(), unit='USD_MICROCENTS', files=None, **kw):
        self.provider = Provider()
        self._numbers = itertools.count()
        self._tenants = itertools.cycle(range(TENANTS))
        self._fresh = iter(range(fresh))
        self._log = {}
        self._log_read = 0

        entries = ([('tenant:t%d' % i, ALLOCATED) for i in range(TENANTS)]
                   + [('tenant:f%d' % i, ALLOCATED) for i in range(fresh)]
                   + list(entries))

        files = dict(files or {})
        files['budgets.json'] = budgets(*entries, unit=unit)

        self.ng = Nginx(
            http='''
                cycles_ledger main path=%%DIR%%/ledger
                              budgets=%%DIR%%/budgets.json;
                cycles_price_table %%PRICES%%;
                upstream provider {
                    server 127.0.0.1:%%PROVIDER%%;
                    keepalive 16;
                }
            ''' + http,
            server=server + ''.join(
                'location /%s/ { %s %s }\n' % (
                    name, text if isinstance(text, Whole) else base + text,
                    '' if 'proxy_pass ' in text else PROXY)
                for name, text in locations.items()),
            files=files, provider=self.provider.port, h2=True, **kw)

        try:
            self.ng.start()
        except Exception:
            self.close()
            raise

    def close(self):
        try:
            self.ng.close()
        finally:
            self.provider.stop()

    def finish(self):
        """What must hold after all tests of a scene, whatever they did."""

        try:
            status = self.ng.status()
            assert status['live_reservations'] == 0
            for balance in self.ng.all_budgets().values():
                check_balance(balance)
            self.ng.stop()
            self.ng.check()
        finally:
            self.close()

    def write(self, name, text):
        """A file in the directory of nginx that its workers may read."""

        path = self.ng.path(name)
        os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
        with open(path, 'w') as file:
            file.write(text)

    def tenant(self):
        """One that no other request has at the moment."""

        return 't%d' % next(self._tenants)

    def fresh(self):
        """One that has never spent anything."""

        return 'f%d' % next(self._fresh)

    def log_of(self, mark):
        """The access log's line of the request with this mark."""

        def find():
            if mark not in self._log:
                self._read_log()
            return self._log.get(mark)

        return wait_until(find, what='a line of request %d in access.log'
                          % mark)

    def _read_log(self):
        """What has come since the last time, but for an unfinished line."""

        with open(self.ng.path('access.log'), 'rb') as file:
            file.seek(self._log_read)
            data = file.read()

        data = data[:data.rfind(b'\n') + 1]
        self._log_read += len(data)

        for text in data.decode('utf-8', 'replace').splitlines():
            found = re.search(r'[?&]mark=(\d+)', text)
            if found:
                self._log[int(found.group(1))] = json.loads(text)

    def begin(self, location, tenant=None, path='/v1/chat/completions'):
        """An Exchange, and the path of its request."""

        tenant = self.tenant() if tenant is None else tenant
        before = self.ng.budget('tenant:' + tenant) or {
            'spent': 0, 'reserved': 0, 'remaining': 0}
        mark = next(self._numbers)
        return (Exchange(self, tenant, mark, before),
                '/%s%s%smark=%d' % (location, path,
                                    '&' if '?' in path else '?', mark))

    def send(self, location, body=None, method='POST', tenant=None,
             headers=None, reply=None, chunked=None, h2=False,
             path='/v1/chat/completions', read=None):
        """A request of these bytes, up to its line in the access log."""

        x, target = self.begin(location, tenant, path)
        fields = {'Content-Type': 'application/json', 'X-Tenant': x.tenant}
        fields.update(headers or {})
        seen = len(self.provider.requests)

        if reply is not None:
            self.provider.script(*(reply if isinstance(reply, list)
                                   else [reply]))

        if h2:
            x.r = gateway.h2_request(self.ng.h2_port, method, target, fields,
                                     body)
        else:
            x.r = self.ng.request(method, target, fields, body, chunked)

        assert x.log
        x.requests = self.provider.requests[seen:]
        self.provider.unscript()
        return x

    def chat(self, location, tenant=None, headers=None, reply=None,
             h2=False, **members):
        """A chat request with these members, see gateway.chat_request()."""

        _, _, body = gateway.chat_request(**members)
        return self.send(location, body, tenant=tenant, headers=headers,
                         reply=reply, h2=h2)

    def chat_at(self, location, path, **kw):
        """As chat(), at this path and query."""

        members = {k: kw.pop(k) for k in list(kw)
                   if k not in ('tenant', 'headers', 'reply', 'h2')}
        return self.send(location, gateway.chat_request(**members)[2],
                         path=path, **kw)


def check_balance(balance):
    """allocated = remaining + reserved + spent + debt"""

    assert balance['allocated'] == (balance['remaining'] + balance['reserved']
                                    + balance['spent'] + balance['debt']), \
        balance
    assert balance['reserved'] >= 0
