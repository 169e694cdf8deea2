# Copyright (C) nginx-cycles authors

"""What funding does to the sums of a budget."""

import itertools

import pytest

from _admin import Admin, plane
from _api import KEYS, UNIT, amount, ok, refused
from gateway import parallel
from ledger_log import Log, State


BIG = 2 ** 53 + 1
HUGE = 2 ** 63 - 1
SCOPE = 'tenant:acme'


@pytest.fixture(scope='module')
def shared(request):
    """One server; each test has a budget of its own."""

    import gateway
    server = gateway.Nginx(**plane((SCOPE + '/app:none', 1)))
    request.addfinalizer(server.close)
    server.start()
    admin = Admin(server)
    admin.apps = itertools.count()
    yield admin
    server.check()
    assert not State(Log(server.path('ledger')).records()).problems


class Budget:
    """A budget in a state: allocated, reserved, spent, debt, limit."""

    def __init__(self, admin, allocated, reserved=0, spent=0, debt=0,
                 limit=None):
        self.admin = admin
        self.app = 'a%d' % next(admin.apps)
        self.scope = '%s/app:%s' % (SCOPE, self.app)
        self.subject = {'tenant': 'acme', 'app': self.app}
        if limit is None:
            limit = debt
        ok(admin.budget_create(self.scope, allocated,
                               overdraft_limit=amount(max(limit, debt))), 201)
        if reserved:
            ok(admin.reserve(reserved, subject=self.subject, ttl_ms=3600000))
        if spent or debt:
            ok(admin.event(spent + debt, subject=self.subject,
                           overage_policy='ALLOW_WITH_OVERDRAFT'), 201)
        if limit < debt:
            ok(admin.admin('PATCH', 'budgets', {
                'overdraft_limit': amount(limit)}, scope=self.scope,
                unit=UNIT))
        assert self.sums()[:5] == (
            allocated, allocated - reserved - spent - debt, reserved, spent,
            debt)

    def sums(self):
        return self.admin.sums(self.scope)

    def fund(self, operation, n, **kw):
        return self.admin.fund(self.scope, operation, n, **kw)


# before: allocated, reserved, spent, debt; after: the same and over its limit.
# Debt is made by spending more than there is, so what is spent is all of it.

FUNDINGS = [
    # CREDIT: allocated += a, remaining += a
    ('CREDIT', 100, (1000, 10, 20, 0), (1100, 10, 20, 0)),
    ('CREDIT', 0, (1000, 10, 20, 0), (1000, 10, 20, 0)),
    ('CREDIT', BIG, (BIG, 1, 3, 0), (2 * BIG, 1, 3, 0)),
    ('CREDIT', HUGE - BIG, (BIG, 0, 0, 0), (HUGE, 0, 0, 0)),
    # … and debt is paid first
    ('CREDIT', 30, (100, 0, 100, 50), (130, 0, 130, 20)),
    ('CREDIT', 50, (100, 0, 100, 50), (150, 0, 150, 0)),
    ('CREDIT', 80, (100, 0, 100, 50), (180, 0, 150, 0)),
    ('CREDIT', BIG + 8, (BIG, 0, BIG, BIG + 2),
     (2 * BIG + 8, 0, 2 * BIG + 2, 0)),

    # DEBIT: allocated -= a, remaining -= a
    ('DEBIT', 100, (1000, 10, 20, 0), (900, 10, 20, 0)),
    ('DEBIT', 970, (1000, 10, 20, 0), (30, 10, 20, 0)),
    ('DEBIT', BIG, (HUGE, 2, 3, 0), (HUGE - BIG, 2, 3, 0)),
    ('DEBIT', 0, (100, 0, 100, 50), None),

    # RESET: allocated = a
    ('RESET', 500, (1000, 10, 20, 0), (500, 10, 20, 0)),
    ('RESET', 0, (1000, 10, 20, 0), (0, 10, 20, 0)),
    ('RESET', BIG, (1000, 10, 20, 0), (BIG, 10, 20, 0)),
    ('RESET', 400, (100, 0, 100, 50), (400, 0, 100, 50)),

    # RESET_SPENT: allocated = a, spent = 0 or what is given
    ('RESET_SPENT', 500, (1000, 10, 20, 0), (500, 10, 0, 0)),
    ('RESET_SPENT', 500, (100, 0, 100, 50), (500, 0, 0, 50)),
    (('RESET_SPENT', 7), 500, (1000, 10, 20, 0), (500, 10, 7, 0)),
    (('RESET_SPENT', 700), 500, (1000, 10, 20, 0), (500, 10, 700, 0)),
    (('RESET_SPENT', BIG), BIG + 9, (1000, 10, 20, 0),
     (BIG + 9, 10, BIG, 0)),

    # REPAY_DEBT: debt -= a, and the rest is a CREDIT
    ('REPAY_DEBT', 20, (100, 0, 100, 50), (100, 0, 100, 30)),
    ('REPAY_DEBT', 50, (100, 0, 100, 50), (100, 0, 100, 0)),
    ('REPAY_DEBT', 80, (100, 0, 100, 50), (130, 0, 100, 0)),
    ('REPAY_DEBT', 80, (1000, 10, 20, 0), (1080, 10, 20, 0)),
    ('REPAY_DEBT', BIG, (BIG, 0, BIG, BIG + 5), (BIG, 0, BIG, 5)),
]


@pytest.mark.parametrize('operation,n,before,after', FUNDINGS)
def test_formulas(shared, operation, n, before, after):
    budget = Budget(shared, *before)
    members = {}
    if isinstance(operation, tuple):
        operation, spent = operation
        members['spent'] = amount(spent)

    r = budget.fund(operation, n, **members)
    if after is None:
        refused(r, 409, 'BUDGET_EXCEEDED')
        return

    body = ok(r)
    assert 'timestamp' in body and body.pop('timestamp')
    assert body.pop('operation') == operation

    def remaining(allocated, reserved, spent, debt):
        return allocated - reserved - spent - debt

    assert {k: v['amount'] for k, v in body.items()} == {
        'previous_allocated': before[0], 'new_allocated': after[0],
        'previous_remaining': remaining(*before),
        'new_remaining': remaining(*after),
        'previous_spent': before[2], 'new_spent': after[2],
        'previous_debt': before[3], 'new_debt': after[3]}
    assert budget.sums() == (after[0], remaining(*after)) + after[1:] \
        + (False,)


def test_debit_of_more_than_remains(shared):
    budget = Budget(shared, 1000, 10, 20)
    before = budget.sums()
    refused(budget.fund('DEBIT', 971), 409, 'BUDGET_EXCEEDED')
    refused(budget.fund('DEBIT', HUGE), 409, 'BUDGET_EXCEEDED')
    assert budget.sums() == before
    ok(budget.fund('DEBIT', 970))
    refused(budget.fund('DEBIT', 1), 409, 'BUDGET_EXCEEDED')


@pytest.mark.parametrize('before,operation,n,members', [
    ((1,), 'CREDIT', HUGE, {}),
    ((HUGE,), 'CREDIT', 1, {}),
    ((HUGE,), 'REPAY_DEBT', 1, {}),
    ((10, 0, 10, 5), 'REPAY_DEBT', HUGE, {}),
    ((1000, 1), 'RESET_SPENT', 5, {'spent': amount(HUGE)}),
    ((10, 0, 10, 5), 'RESET_SPENT', 5, {'spent': amount(HUGE - 4)}),
])
def test_what_does_not_fit(shared, before, operation, n, members):
    budget = Budget(shared, *before)
    sums = budget.sums()
    r = refused(budget.fund(operation, n, **members), 400, 'INVALID_REQUEST')
    assert '64 bits' in r['message']
    assert budget.sums() == sums


@pytest.mark.parametrize('operation', ['CREDIT', 'DEBIT', 'RESET',
                                       'RESET_SPENT', 'REPAY_DEBT'])
def test_over_limit_is_settled(shared, operation):
    """A flag that an event left on a budget without debt."""

    budget = Budget(shared, 100)
    ok(shared.event(101, subject=budget.subject), 201)
    assert budget.sums() == (100, 0, 0, 100, 0, True)
    refused(shared.reserve(0, subject=budget.subject), 409,
            'OVERDRAFT_LIMIT_EXCEEDED')
    ok(budget.fund(operation, 100 if operation == 'RESET' else 0))
    assert budget.sums()[5] is False
    ok(shared.reserve(0, subject=budget.subject))


def test_debt_over_a_lowered_limit(shared):
    budget = Budget(shared, 100, 0, 100, 50, limit=20)
    assert budget.sums()[5] is True
    ok(budget.fund('REPAY_DEBT', 29))
    assert budget.sums() == (100, -21, 0, 100, 21, True)
    ok(budget.fund('CREDIT', 1))
    assert budget.sums() == (101, -20, 0, 101, 20, False)
    refused(shared.reserve(1, subject=budget.subject), 409,
            'BUDGET_EXCEEDED')
    ok(budget.fund('CREDIT', 21))
    ok(shared.reserve(1, subject=budget.subject))


def test_repeated(shared):
    budget = Budget(shared, 1000)
    key = 'once-' + budget.app
    first = ok(budget.fund('CREDIT', 5, idempotency_key=key, reason='a'))
    for _ in range(2):
        assert ok(budget.fund('CREDIT', 5, idempotency_key=key,
                              reason='a')) == first
    assert budget.sums()[0] == 1005

    # the header is as good, and both must be the same

    header = {'X-Idempotency-Key': key}
    assert ok(budget.fund('CREDIT', 5, reason='a', headers=header)) == first
    assert ok(budget.fund('CREDIT', 5, reason='a', headers=header,
                          idempotency_key=key)) == first
    refused(budget.fund('CREDIT', 5, headers=header, idempotency_key='other'),
            400, 'INVALID_REQUEST')
    refused(budget.fund('CREDIT', 5, headers={'X-Idempotency-Key': 'k' * 257}),
            400, 'INVALID_REQUEST')

    for r in (budget.fund('CREDIT', 6, idempotency_key=key, reason='a'),
              budget.fund('RESET', 5, idempotency_key=key, reason='a'),
              budget.fund('CREDIT', 5, idempotency_key=key),
              budget.fund('CREDIT', 5, idempotency_key=key, reason='a',
                          metadata={'x': 1}),
              shared.fund(SCOPE + '/app:none', 'CREDIT', 5,
                          idempotency_key=key, reason='a')):
        refused(r, 409, 'IDEMPOTENCY_MISMATCH')

    # what was refused is not remembered, and without a key nothing is

    key += '-2'
    refused(budget.fund('DEBIT', 2000, idempotency_key=key), 409,
            'BUDGET_EXCEEDED')
    ok(budget.fund('DEBIT', 5, idempotency_key=key))
    assert budget.sums()[0] == 1000
    ok(budget.fund('CREDIT', 1))
    ok(budget.fund('CREDIT', 1))
    assert budget.sums()[0] == 1002


def test_keys_are_by_tenant(nginx):
    admin = Admin(nginx(**plane(('tenant:acme', 10), ('tenant:other', 10))))
    ok(admin.fund('tenant:acme', 'CREDIT', 5, idempotency_key='k'))
    ok(admin.fund('tenant:other', 'CREDIT', 7, idempotency_key='k'))
    ok(admin.event(5, key='k'), 201)
    assert admin.sums('tenant:acme')[0] == 15
    assert admin.sums('tenant:other')[0] == 17


@pytest.mark.parametrize('kill', [False, True])
def test_repeated_after_a_start(nginx, kill):
    admin = Admin(nginx(**plane(('tenant:acme', 10))))
    first = ok(admin.fund(SCOPE, 'CREDIT', 5, idempotency_key='k'))
    second = ok(admin.fund(SCOPE, 'RESET_SPENT', 50, idempotency_key='l',
                           spent=amount(3)))
    if kill:
        admin.nginx.kill9()
    else:
        admin.nginx.quit()
    admin.nginx.start()
    assert ok(admin.fund(SCOPE, 'CREDIT', 5, idempotency_key='k')) == first
    assert ok(admin.fund(SCOPE, 'RESET_SPENT', 50, idempotency_key='l',
                         spent=amount(3))) == second
    assert admin.sums(SCOPE) == (50, 47, 0, 3, 0, False)


def test_spent_is_for_reset_spent_only(shared):
    budget = Budget(shared, 1000, 0, 20)
    ok(budget.fund('RESET', 500, spent=amount(7)))
    assert budget.sums() == (500, 480, 0, 20, 0, False)


def test_who_may_fund_what(shared):
    budget = Budget(shared, 1000)
    scope = budget.scope
    refused(shared.fund(scope, 'CREDIT', 1, query={
        'scope': scope, 'unit': UNIT}), 400, 'INVALID_REQUEST')
    refused(shared.fund(scope, 'CREDIT', 1, query={
        'scope': scope, 'unit': UNIT, 'tenant_id': 'other'}), 403,
        'FORBIDDEN')
    own = shared.secret()
    other = shared.secret(tenant_id='other')
    ok(shared.fund(scope, 'CREDIT', 1, as_key=own))
    ok(shared.fund(scope, 'CREDIT', 1, as_key=own, query={
        'scope': scope, 'unit': UNIT, 'tenant_id': 'ignored'}))
    refused(shared.fund(scope, 'CREDIT', 1, as_key=other), 403, 'FORBIDDEN')
    refused(shared.fund(scope, 'CREDIT', 1, as_key=KEYS['acme']), 403,
            'INSUFFICIENT_PERMISSIONS')
    refused(shared.fund('tenant:acme/app:nothing', 'CREDIT', 1), 404,
            'BUDGET_NOT_FOUND')
    refused(shared.fund(scope, 'CREDIT', 1, 'TOKENS'), 404,
            'BUDGET_NOT_FOUND')
    refused(shared.fund(scope, 'CREDIT', 1, 'TOKENS', query={
        'scope': scope, 'unit': UNIT, 'tenant_id': 'acme'}), 400,
        'UNIT_MISMATCH')
    assert budget.sums()[0] == 1002

    funded = [rec for rec in Log(shared.nginx.path('ledger')).records()
              if rec.kind == 'funding' and rec.allocated in (1001, 1002)
              and rec.previous_allocated >= 1000]
    assert [rec.admin for rec in funded[-2:]] == [0, 0]


def test_many_at_once(shared):
    """Each of 200 fundings counts once, whichever worker it comes to."""

    budget = Budget(shared, 1000)

    def fund(i):
        if i % 2:
            ok(budget.fund('DEBIT', 1 + i % 3))
        else:
            ok(budget.fund('CREDIT', 5, idempotency_key='%s-%d'
                           % (budget.app, i // 4)))

    parallel(200, fund, 16)
    assert budget.sums()[0] == 1000 + 50 * 5 \
        - sum(1 + i % 3 for i in range(1, 200, 2))


def test_fund_while_it_is_spent(shared):
    budget = Budget(shared, 100000)

    def spend():
        for _ in range(20):
            rid = ok(shared.reserve(10, subject=budget.subject))[
                'reservation_id']
            ok(shared.commit(rid, 7))

    def fund():
        for _ in range(20):
            ok(budget.fund('CREDIT', 3))
            ok(budget.fund('DEBIT', 3))

    parallel(4, lambda i: (spend, fund)[i % 2]())
    assert budget.sums() == (100000, 100000 - 280, 0, 280, 0, False)
