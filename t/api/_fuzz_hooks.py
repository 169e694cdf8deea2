# Copyright (C) nginx-cycles authors

"""What test_fuzz.py has schemathesis do with the requests that it makes up.

A request that the schema allows is led to where the ledger has something to
do: to the tenant of the key, to reservations that exist, with a key that is
new.  What the schema allows and docs/api.md says is refused is made
acceptable, so that a refusal of anything else is found.  Requests that the
schema does not allow go out as they are.
"""

import json
import re

import schemathesis


with open('state.json') as file:
    KNOWN = json.load(file)             # of test_fuzz.py

API_KEY = KNOWN['api_key']
ADMIN_KEY = KNOWN['admin_key']

LEVELS = ('tenant', 'workspace', 'app', 'workflow', 'agent', 'toolset')

INT64 = range(-2 ** 63, 2 ** 63)


class State:
    turn = 0
    units = KNOWN['reservations']       # by id
    live = list(units)                  # not settled, as far as we know
    cursors = {}                        # by path
    tenants = []                        # that were made by requests
    budgets = []                        # scope, unit
    keys = []


def readable(value):
    """Integers that fit into 64 bits, and are written as such; names without
    U+0000."""

    if isinstance(value, dict):
        return {k.replace('\0', ''): readable(v) for k, v in value.items()}
    if isinstance(value, list):
        return [readable(v) for v in value]
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and value not in INT64:
        return value % 2 ** 63
    return value


def fix_subject(subject):
    for level in LEVELS:
        if level in subject:
            text = re.sub('[^A-Za-z0-9_.-]', '_', subject[level])
            subject[level] = text[:128] or 'x'
    if 'tenant' in subject and State.turn % 8:
        subject['tenant'] = 'acme'
    if 'dimensions' in subject:
        subject['dimensions'] = {
            k: v for k, v in subject['dimensions'].items()
            if 0 < len(k.encode()) <= 256}


def fix_body(body):
    if State.turn % 8:
        body['idempotency_key'] = body['idempotency_key'][:200] \
            + str(State.turn)
    if 'subject' in body:
        fix_subject(body['subject'])
    if 'action' in body:
        for name in 'kind', 'name':
            body['action'][name] = body['action'][name] or 'x'
    for name in 'estimate', 'actual':
        if name in body and State.turn % 3:
            body[name]['amount'] %= 1000


def fix_query(path, query):
    if query.get('tenant') and State.turn % 8:
        query['tenant'] = 'acme'
    if path == '/v1/balances' and not any(query.get(k) for k in LEVELS):
        query['tenant'] = 'acme'
    if query.get('cursor'):
        query['cursor'] = State.cursors.get(path, '')
    if path == '/v1/reservations':
        for name in '', 'expires_', 'finalized_':
            if query.get(name + 'from') and query.get(name + 'to'):
                del query[name + 'to']
        if query.get('cursor'):
            for name in set(query) - {'cursor', 'limit', 'include'}:
                del query[name]


def fix_admin(case):
    """Leads a request of the admin plane to what there is."""

    path, body, query = case.path, case.body, case.query

    if not isinstance(body, dict):
        body = {}

    # not a made-up key beside the good one

    operator = case.headers.get('X-Admin-API-Key') == ADMIN_KEY
    case.headers.pop('X-Cycles-API-Key' if operator else 'X-Admin-API-Key',
                     None)

    for name, found in (('tenant_id', State.tenants), ('key_id', State.keys)):
        if name in case.path_parameters and State.turn % 4 and found \
                and case.path_parameters[name] not in found:
            case.path_parameters[name] = pick(found)

    for name in 'metadata', 'scope_filter', 'parent_tenant_id':
        if name in body:
            body[name] = {'metadata': {'a': 'b'},
                          'scope_filter': ['tenant:acme', 'app:*'],
                          'parent_tenant_id': 'acme'}[name]
    for name in 'rollover_policy', 'period_start', 'period_end', \
            'reservation_expiry_policy':
        body.pop(name, None)
    if case.path_parameters.get('tenant_id') == 'acme':
        body.pop('status', None)        # others need it
    if 'name' in body:
        body['name'] = body['name'][:256] or 'x'
    if 'expires_at' in body:
        body['expires_at'] = '2099-01-31T00:00:00Z'
    if 'tenant_id' in body and case.method == 'POST' \
            and path != '/v1/admin/tenants':
        body['tenant_id'] = 'acme'

    if path == '/v1/admin/budgets' and case.method == 'POST':
        fix_new_budget(body, operator)
    elif path.startswith('/v1/admin/budgets') and 'unit' in query:
        fix_budget(case, body, query)

    if path == '/v1/admin/tenants' or path == '/v1/admin/budgets' \
            or path == '/v1/admin/api-keys':
        fix_page(path, query)


def pick(found, *others):
    found = found[-4:] + list(others)
    return found[State.turn % len(found)]


def fix_new_budget(body, operator):
    body['scope'] = 'tenant:acme/app:new-%d' % State.turn
    for name in 'allocated', 'overdraft_limit':
        if name in body:
            body[name]['unit'] = body['unit']
    if operator:
        body['tenant_id'] = 'acme'
    else:
        body.pop('tenant_id', None)


def fix_budget(case, body, query):
    query['scope'], query['unit'] = pick(
        State.budgets, ('tenant:acme', query['unit']),
        ('tenant:acme/app:no', query['unit']))
    if 'tenant_id' in query or case.path.endswith('/fund'):
        query['tenant_id'] = 'acme'
    for name in 'amount', 'spent', 'overdraft_limit':
        if name in body:
            body[name]['unit'] = query['unit']
            if State.turn % 3:
                body[name]['amount'] %= 1000
    if body.get('idempotency_key') and State.turn % 8:
        body['idempotency_key'] += str(State.turn)
    if 'idempotency_key' in body:
        body['idempotency_key'] = body['idempotency_key'][-200:] or 'k'


def fix_page(path, query):
    if 'limit' in query:
        query['limit'] = 1 + int(query['limit']) % 100
    if 'tenant_id' in query:
        query['tenant_id'] = 'acme'
    if query.get('utilization_min') is not None:
        query.pop('utilization_max', None)
    if query.get('cursor'):
        query['cursor'] = State.cursors.get(path, '')
        for name in set(query) - {'cursor', 'limit'}:
            del query[name]


def fix_reservation(case):
    known = list(State.units)
    if State.turn % 4 > 1 and State.live:
        case.path_parameters['reservation_id'] = State.live[-1]
    elif State.turn % 4 == 1:
        case.path_parameters['reservation_id'] \
            = known[State.turn % len(known)]
    unit = State.units.get(case.path_parameters['reservation_id'])
    if unit and isinstance(case.body, dict) and 'actual' in case.body:
        case.body['actual']['unit'] = unit


@schemathesis.hook
def before_call(context, case, kwargs):
    State.turn += 1

    if case.meta is None or not case.meta.generation.mode.is_positive:
        return

    if isinstance(case.body, dict):
        case.body = readable(case.body)

    if case.path.startswith('/v1/admin/'):
        fix_admin(case)
        return

    fix_query(case.path, case.query)

    if isinstance(case.body, dict):
        fix_body(case.body)

        # that both are the same can't be said in a schema

        case.headers.pop('X-Idempotency-Key', None)
        key = case.body['idempotency_key']
        if State.turn % 2 and re.fullmatch('[!-~]+', key):
            case.headers['X-Idempotency-Key'] = key

    if case.headers.pop('X-Admin-API-Key', None) is not None \
            and State.turn % 2:
        case.headers['X-Admin-API-Key'] = ADMIN_KEY
        if case.path == '/v1/reservations':
            case.query['tenant'] = case.query.get('tenant') or 'acme'
            case.query.pop('cursor', None)

    if 'reservation_id' in case.path_parameters:
        fix_reservation(case)


@schemathesis.hook
def after_call(context, case, response):
    if response.status_code not in (200, 201):
        return
    body = response.json()
    if 'next_cursor' in body and not set(case.query) - {
            'tenant', 'limit', 'include'}:
        State.cursors[case.path] = body['next_cursor']
    if case.method == 'POST' and 'created_at' in body:
        if 'key_id' in body:
            State.keys.append(body['key_id'])
        elif 'scope' in body:
            State.budgets.append((body['scope'], body['unit']))
        else:
            State.tenants.append(body['tenant_id'])
    for row in body.get('reservations', [body]):
        if 'reservation_id' in row:
            State.units[row['reservation_id']] = row['reserved']['unit']
    if 'reservation_id' in body and case.method == 'POST':
        State.live.insert(0, body['reservation_id'])
    if body.get('status') in ('COMMITTED', 'RELEASED'):
        rid = case.path_parameters['reservation_id']
        State.live = [r for r in State.live if r != rid]


@schemathesis.hook
def filter_failure(context, failure, case, response):
    kind = type(failure).__name__

    # the protocol wants a parameter without a value to be as good as none,
    # whatever its schema says

    if kind == 'AcceptedNegativeData' and case.method == 'GET' \
            and '' in case.query.values():
        return False

    # that a closed tenant can't be changed is in the document's prose

    if response.status_code == 409 and case.method == 'PATCH' \
            and case.path == '/v1/admin/tenants/{tenant_id}':
        return kind != 'UndefinedStatusCode'

    # a wrong key beside the operator's right one is not looked at

    return not (kind == 'IgnoredAuth' and 'X-Cycles-API-Key' in case.headers
                and case.headers.get('X-Admin-API-Key') == ADMIN_KEY)
