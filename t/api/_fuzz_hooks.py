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


LEVELS = ('tenant', 'workspace', 'app', 'workflow', 'agent', 'toolset')

INT64 = range(-2 ** 63, 2 ** 63)


class State:
    turn = 0
    with open('reservations.json') as file:
        units = dict(json.load(file))   # of reservations that are known
    live = list(units)                  # not settled, as far as we know
    cursors = {}                        # by path


def readable(value):
    """Integers that fit into 64 bits, names without U+0000."""

    if isinstance(value, dict):
        return {k.replace('\0', ''): readable(v) for k, v in value.items()}
    if isinstance(value, list):
        return [readable(v) for v in value]
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

    fix_query(case.path, case.query)

    if isinstance(case.body, dict):
        case.body = readable(case.body)
        fix_body(case.body)

        # that both are the same can't be said in a schema

        case.headers.pop('X-Idempotency-Key', None)
        key = case.body['idempotency_key']
        if State.turn % 2 and re.fullmatch('[!-~]+', key):
            case.headers['X-Idempotency-Key'] = key

    if case.headers.pop('X-Admin-API-Key', None) is not None \
            and State.turn % 2:
        case.headers['X-Admin-API-Key'] = 'operator'
        if case.path == '/v1/reservations':
            case.query['tenant'] = case.query.get('tenant') or 'acme'
            case.query.pop('cursor', None)

    if 'reservation_id' in case.path_parameters:
        fix_reservation(case)


@schemathesis.hook
def after_call(context, case, response):
    if response.status_code != 200:
        return
    body = response.json()
    if 'next_cursor' in body and not set(case.query) - {
            'tenant', 'limit', 'include'}:
        State.cursors[case.path] = body['next_cursor']
    for row in body.get('reservations', [body]):
        if 'reservation_id' in row:
            State.units[row['reservation_id']] = row['reserved']['unit']
    if 'reservation_id' in body and case.method == 'POST':
        State.live.insert(0, body['reservation_id'])
    if body.get('status') in ('COMMITTED', 'RELEASED'):
        rid = case.path_parameters['reservation_id']
        State.live = [r for r in State.live if r != rid]


# the protocol wants a parameter without a value to be as good as none, whatever
# its schema says

@schemathesis.hook
def filter_failure(context, failure, case, response):
    return not (case.path == '/v1/reservations' and case.method == 'GET'
                and type(failure).__name__ == 'AcceptedNegativeData'
                and '' in case.query.values())
