# Copyright (C) nginx-cycles authors

"""A client for the suites of the HTTP API.

    with the fixture "nginx":
        api = Api(nginx(**conf(('tenant:acme', 1000))))
        r = api.reserve(100)            r.status, r.json, r.header(...)

Every answer is checked: against the OpenAPI documents, by openapi-core; its
ids, and its headers.
"""

import functools
import hashlib
import json
import os
import re

import jsonschema
from openapi_core import OpenAPI
from openapi_core.testing import MockRequest, MockResponse
import yaml

import gateway


OPENAPI = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'openapi')

DOCUMENTS = ('cycles-protocol-v0.yaml',
             'cycles-governance-admin-v0.1.25.yaml')

SPEC = os.path.join(OPENAPI, DOCUMENTS[0])

UNIT = 'USD_MICROCENTS'

KEYS = {'acme': 'cyc_live_acme', 'other': 'cyc_live_other'}

INT64_MAX = 2 ** 63 - 1


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


def keys(**tenants):
    return [{'tenant_id': tenant, 'name': 'test', 'secret_sha256':
             sha256(secret)} for tenant, secret in tenants.items()]


def conf(*entries, ledger='', location='', http='', server='', tenants=None,
         api_keys=None, prefix='/v1/', api='', **kw):
    """Arguments for nginx(): a ledger and its API."""

    if api_keys is None:
        api_keys = keys(**KEYS)
    if tenants is None:
        tenants = ['acme', 'other']

    members = {'tenants': tenants}
    if tenants and isinstance(tenants[0], dict):
        members = {}

    text = json.loads(gateway.budgets(*entries, api_keys=api_keys, **members))
    if not members:
        text['tenants'] = tenants

    return dict(
        http='cycles_ledger main path=%%DIR%%/ledger '
             'budgets=%%DIR%%/budgets.json ' + ledger + ';' + http,
        server='location ' + prefix + ' { cycles_api ledger=main ' + api
               + '; ' + location + ' }' + server,
        files={'budgets.json': json.dumps(text)}, **kw)


def amount(n, unit=UNIT):
    return {'unit': unit, 'amount': n}


SUBJECT = {'tenant': 'acme', 'app': 'chat'}
ACTION = {'kind': 'llm.completion', 'name': 'openai:gpt-4o-mini'}


class Document:
    """One OpenAPI document, and what it says of an answer."""

    def __init__(self, name):
        path = os.path.join(OPENAPI, name)
        self.api = OpenAPI.from_file_path(path)
        with open(path) as file:
            self.raw = yaml.load(file, yaml.CSafeLoader)
        self.error = jsonschema.Draft202012Validator(
            {'$ref': '#/components/schemas/ErrorResponse',
             'components': self.raw['components']})

    def responses(self, method, path):
        """By status; None: it does not know this."""

        for template, item in self.raw['paths'].items():
            pattern = re.sub(r'\{[^}]*\}', '[^/]+', template)
            if re.fullmatch(pattern, path) and method.lower() in item:
                return item[method.lower()]['responses']
        return None

    def check(self, method, path, body, r):
        host = self.raw.get('servers', [{'url': 'http://localhost'}])[0]['url']
        request = MockRequest(host, method.lower(), path, args={}, headers={},
                              data=body, content_type='application/json')
        self.api.validate_response(request, MockResponse(
            r.body, r.status, dict(r.headers), 'application/json'))


@functools.lru_cache(None)
def document(name):
    return Document(name)


def check_answer(method, path, body, r):
    """Every answer is one of the documents', and so is every error that they
    don't foresee: of another path, method, type or size."""

    # what the document has no path for answers as another one does; that
    # a closed tenant is not changed is in its prose (CASCADE SEMANTICS)

    path = path.replace('/admin/budgets/close', '/admin/budgets/freeze')

    if method == 'PATCH' and '/admin/tenants/' in path and r.status == 409:
        document(DOCUMENTS[1]).error.validate(json.loads(r.body))
        return

    for name in DOCUMENTS:
        responses = document(name).responses(method, path)
        if responses is not None:
            if str(r.status) in responses:
                document(name).check(method, path, body, r)
                return
            break
    else:
        name = DOCUMENTS['/v1/admin/' in path]

    assert r.status in (400, 401, 403, 404, 405, 413, 415, 429, 500), r
    document(name).error.validate(json.loads(r.body))


def no_nulls(value):
    if isinstance(value, dict):
        return all(no_nulls(v) for k, v in value.items()
                   if k not in ('metadata', 'committed_metadata'))
    if isinstance(value, list):
        return all(no_nulls(v) for v in value)
    return value is not None


class Api:

    def __init__(self, nginx, base=''):
        self.nginx = nginx
        self.base = base
        self.count = 0

    def key(self):
        self.count += 1
        return 'key-%d' % self.count

    def call(self, method, path, body=None, key=KEYS['acme'], headers=None,
             raw=None, content_type='application/json', query=''):
        sent = dict(headers or {})
        if key is not None:
            sent['X-Cycles-API-Key'] = key
        data = raw
        if body is not None:
            data = json.dumps(body).encode()
        if data is not None and content_type:
            sent['Content-Type'] = content_type

        r = self.nginx.request(method, self.base + path
                               + ('?' + query if query else ''), sent, data)
        if method != 'HEAD':
            self.check(method, path, data, r)
        return r

    def check(self, method, path, body, r):
        assert r.complete
        assert r.header('content-type') == 'application/json', r
        assert re.fullmatch('[0-9a-f-]{36}', r.header('x-request-id'))
        assert re.fullmatch('[0-9a-f]{32}', r.header('x-cycles-trace-id'))
        assert no_nulls(r.json), r.text

        if r.status >= 300:
            assert r.json['request_id'] == r.header('x-request-id')
            assert r.json['trace_id'] == r.header('x-cycles-trace-id')

        check_answer(method, path, body, r)

    # the operations, with what most tests want

    def reserve(self, n, key=None, subject=SUBJECT, unit=UNIT, api_key=None,
                **more):
        body = dict({'idempotency_key': key or self.key(), 'subject': subject,
                     'action': ACTION, 'estimate': amount(n, unit)}, **more)
        return self.call('POST', '/v1/reservations', body,
                         key=api_key or KEYS['acme'])

    def decide(self, n, key=None, subject=SUBJECT, unit=UNIT, **more):
        return self.call('POST', '/v1/decide', dict(
            {'idempotency_key': key or self.key(), 'subject': subject,
             'action': ACTION, 'estimate': amount(n, unit)}, **more))

    def event(self, n, key=None, subject=SUBJECT, unit=UNIT, **more):
        return self.call('POST', '/v1/events', dict(
            {'idempotency_key': key or self.key(), 'subject': subject,
             'action': ACTION, 'actual': amount(n, unit)}, **more))

    def commit(self, rid, n, key=None, unit=UNIT, api_key=None, **more):
        return self.call('POST', '/v1/reservations/%s/commit' % rid, dict(
            {'idempotency_key': key or self.key(),
             'actual': amount(n, unit)}, **more),
            key=api_key or KEYS['acme'])

    def release(self, rid, key=None, api_key=None, **more):
        return self.call('POST', '/v1/reservations/%s/release' % rid, dict(
            {'idempotency_key': key or self.key()}, **more),
            key=api_key or KEYS['acme'])

    def extend(self, rid, by, key=None, api_key=None, **more):
        return self.call('POST', '/v1/reservations/%s/extend' % rid, dict(
            {'idempotency_key': key or self.key(), 'extend_by_ms': by},
            **more), key=api_key or KEYS['acme'])

    def get(self, rid, api_key=None):
        return self.call('GET', '/v1/reservations/' + rid,
                         key=api_key or KEYS['acme'])

    def balances(self, query='tenant=acme', api_key=None):
        return self.call('GET', '/v1/balances', query=query,
                         key=api_key or KEYS['acme'])

    def balance(self, scope, unit=UNIT):
        """{'remaining': n, 'reserved': n, ...} of one budget"""

        tenant = scope.split('/')[0].partition(':')[2]
        r = self.balances('tenant=' + tenant, KEYS[tenant])
        for item in r.json['balances']:
            if item['scope_path'] == scope \
                    and item['remaining']['unit'] == unit:
                flat = {k: v['amount'] for k, v in item.items()
                        if isinstance(v, dict)}
                assert flat['remaining'] == flat['allocated'] \
                    - flat['spent'] - flat['reserved'] - flat['debt']
                flat['is_over_limit'] = item.get('is_over_limit', False)
                return flat
        raise AssertionError('no balance of ' + scope)


def ok(r, status=200):
    assert r.status == status, r.text
    return r.json


def refused(r, status, error):
    assert (r.status, r.json['error']) == (status, error), r.text
    return r.json
