# Copyright (C) nginx-cycles authors

"""Both budget authorities behind one face, for the lifecycle suite.

    with Ledger({'tenant:acme': 1000000}) as authority:     # or Server(...)
        ng = nginx(**authority.gateway(provider, location='...'))
        authority.attach(ng)
        ...
        assert authority.story('acme') == [('reserve', 6195), ('commit', 450)]
        authority.audit()

Ledger is the embedded one, Server a stand-in of a Cycles server behind
"location @cycles".  What they are asked is read where it can't be made up:
from the ledger's log by a reader of our own, from the stand-in's list of the
requests that it got.

    .story(tenant)    [(operation, amount), ...] of one tenant in their order;
                      the amount is None for release and expire; the Server's
                      has every request, also those it refused; extends are
                      left out
    .budget(scope)    allocated, remaining, reserved, spent, debt
    .live()           reservations that are held
    .sums()           reserved, committed, released, expired (estimates), and
                      charged
    .settled()        waits until nothing is live
    .audit()          what must hold at the end of any run; see there

Amounts of gpt-4o-mini in t/prices.json: a token of input costs 15, a token of
output 60.
"""

import collections

from gateway import (budgets, free_port, wait_until, HarnessError)
from fake_cycles import FakeCycles
import ledger_log


INPUT = 15
OUTPUT = 60

API_KEY = 'cyc_test_key'


def cost(prompt, completion):
    return prompt * INPUT + completion * OUTPUT


def text_tokens(text):
    """The module's estimate of a text of lower-case words and single spaces,
    from the table of weights: a letter that begins a word 235/256 token, one
    inside it 24/256, a space 1/256 behind a letter."""

    weight = 0
    before = '\n'
    for ch in text:
        if ch == ' ':
            assert before.isalpha()
            weight += 1
        else:
            assert ch.isalpha() and ch.islower()
            weight += 24 if before.isalpha() else 235
        before = ch
    return -(-weight // 256)


def chunk_tokens(n, word='word '):
    """What chat_stream() has sent with n chunks."""

    return text_tokens(word * n)


class Authority:

    def __init__(self, scopes=None):
        self.scopes = dict(scopes or {})
        self.ng = None

    def attach(self, ng):
        self.ng = ng
        return ng

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        pass

    def gateway(self, provider, location='', http='', server='', cycles='on',
                files=None, **kw):
        """Arguments for Nginx: a location / that is guarded; %%GUARD%% is
        what makes another location so."""

        return dict(
            http='''
                cycles_price_table %%PRICES%%;
                cycles_estimate_margin 1;
                %%AUTHORITY_HTTP%%
                upstream provider {
                    server 127.0.0.1:%%PROVIDER%%;
                    keepalive 64;
                }
                proxy_http_version 1.1;
                proxy_set_header Connection "";
            ''' + http,
            server='''
                %%AUTHORITY_SERVER%%
                location / {
                    %%GUARD%%
                    proxy_pass http://provider;
                    ''' + location + '''
                }
            ''' + server,
            files=dict(self.files(), **(files or {})),
            provider=provider.port,
            guard='cycles ' + cycles + ''';
                cycles_subject tenant $http_x_tenant;
                cycles_subject workspace $http_x_workspace;
                ''' + self.LOCATION,
            authority_http=self.http(), authority_server=self.server(),
            **kw)

    def files(self):
        return {}

    def settled(self, timeout=None):
        wait_until(lambda: self.live() == 0, timeout,
                   'no live reservation at the ' + self.name)

    def wait_story(self, tenant, *kinds, timeout=None):
        """Until a tenant's operations are of these kinds; the story."""

        def come():
            return [item[0] for item in self.story(tenant)] == list(kinds)

        try:
            wait_until(come, timeout)
        except HarnessError:
            raise HarnessError('%s: not %r but %r' % (
                tenant, kinds, self.story(tenant))) from None
        return self.story(tenant)

    def check_sums(self):
        sums = self.sums()
        assert sums['reserved'] == (sums['committed'] + sums['released']
                                    + sums['expired']), sums
        return sums


class Ledger(Authority):

    name = 'ledger'
    remote = False

    LOCATION = '''
        cycles_authority ledger=main;
    '''

    def __init__(self, scopes=None, options=''):
        super().__init__(scopes)
        self.options = options

    def http(self):
        return '''cycles_ledger main path=%%DIR%%/ledger
                                budgets=%%DIR%%/budgets.json ''' \
            + self.options + ';'

    def server(self):
        return ''

    def files(self):
        return {'budgets.json': budgets(*self.scopes.items())}

    def attach(self, ng):
        self.log = ledger_log.Log(ng.path('ledger'))
        return super().attach(ng)

    def records(self):
        return self.log.records()

    def story(self, tenant):
        found = []
        mine = set()
        for rec in self.records():
            if rec.kind == 'reserve' and rec.subject['tenant'] == tenant:
                mine.add(rec.id)
                found.append(('reserve', rec.amount))
            elif rec.kind == 'event' and rec.subject['tenant'] == tenant:
                found.append(('event', rec.amount))
            elif rec.kind == 'expire':
                found += [('expire', None) for id in rec.ids if id in mine]
            elif (getattr(rec, 'id', None) in mine
                  and rec.kind != 'extend'):
                found.append((rec.kind, rec.amount if rec.kind == 'commit'
                              else None))
        return found

    def budget(self, scope):
        return self.ng.budget(scope)

    def live(self):
        return self.ng.live_reservations()

    def sums(self):
        sums = ledger_log.State(self.records()).sums()
        return {'reserved': sums['reserved'], 'committed': sums['COMMITTED'],
                'released': sums['RELEASED'], 'expired': sums['EXPIRED'],
                'charged': sums['charged']}

    def audit(self, **kw):
        """Nothing is live; each reservation was settled once; the balances
        that are shown are those that follow from the log.  The options are
        those of the Server; they change nothing here."""

        self.settled()

        state = ledger_log.State(self.records())
        assert state.problems == []
        assert [i for i in state.reservations.values()
                if i['status'] == 'ACTIVE'] == []

        for scope, shown in self.ng.all_budgets().items():
            says = state.budgets[scope]
            for name in 'allocated', 'reserved', 'spent', 'debt':
                assert shown[name] == says[name], (scope, name)
            check_balance(shown)
            assert shown['reserved'] == 0, scope

        return self.check_sums()


class Server(Authority):

    name = 'cycles'
    remote = True

    def __init__(self, scopes=None, api_key=API_KEY, **options):
        """api_key: the argument of cycles_api_key; options: FakeCycles'."""

        super().__init__(scopes)
        self.LOCATION = '''
            cycles_authority @cycles;
            cycles_api_key ''' + api_key + ''';
        '''
        self.cycles = FakeCycles(free_port(), **options)

    def __enter__(self):
        self.cycles.start()
        for scope, amount in self.scopes.items():
            self.cycles.budget(scope, amount)
        return self

    def __exit__(self, *exc):
        self.cycles.stop()

    def http(self):
        return '''
            upstream cycles {
                server 127.0.0.1:%d;
                keepalive 64;
            }
        ''' % self.cycles.port

    def server(self):
        return '''
            location @cycles {
                proxy_pass http://cycles;
                proxy_next_upstream error timeout non_idempotent;
            }
        '''

    # what the other one reads from its log

    def _tenants(self):
        return {id: item.subject.get('tenant') for id, item
                in list(self.cycles.server.ledger.reservations.items())}

    def entries(self, tenant=None, kind=None):
        """Requests of a tenant, as Entry of fake_cycles."""

        tenants = self._tenants()
        found = []
        for entry in self.cycles.log(kind):
            if tenant is None or self.tenant_of(entry, tenants) == tenant:
                found.append(entry)
        return found

    def tenant_of(self, entry, tenants):
        if entry.endpoint in ('reserve', 'event'):
            return entry.json['subject'].get('tenant')
        return tenants.get(entry.path.split('/')[3])

    def story(self, tenant):
        found = []
        for entry in self.entries(tenant):
            if entry.endpoint in ('extend', 'get'):
                continue
            amount = None
            if entry.endpoint == 'reserve':
                amount = entry.json['estimate']['amount']
            elif entry.endpoint in ('commit', 'event'):
                amount = entry.json['actual']['amount']
            found.append((entry.endpoint, amount))
        return found

    def budget(self, scope):
        return self.cycles.scope(scope)

    def live(self):
        return self.cycles.state()['statuses'].get('ACTIVE', 0)

    def sums(self):
        state = self.cycles.state()
        sums = dict(state['sums'])
        sums['charged'] += sums.pop('events')
        return sums

    def settled(self, timeout=None):
        super().settled(timeout)

        # those with a reply under way belong to what happens

        self.cycles.wait(lambda: all(e.status is not None
                                     for e in self.cycles.log()))

    def audit(self, mismatches=0, shared_keys=False):
        """Nothing is live; no key was used for two payloads; what was sent
        again was the same to the byte, headers and all (a record of the
        journal has no trace, so what it sends has none); each reservation has
        one settlement, and each request is known to the protocol.

        shared_keys: clients chose keys, so several requests reserve with the
        same one."""

        self.settled()

        state = self.cycles.state()
        assert state['mismatches'] == mismatches

        same, traces = {}, {}
        settlements = collections.defaultdict(set)

        for entry in self.cycles.log():
            if entry.endpoint == 'get':
                assert entry.body == b''
                continue
            assert entry.endpoint in ('reserve', 'commit', 'release',
                                      'extend', 'event'), entry.path
            body = entry.json
            key = body['idempotency_key']
            assert entry.headers.get('x-idempotency-key') in (key, None)

            if not (shared_keys and entry.endpoint == 'reserve'):
                used = entry.path, key
                shape = entry.body, headers_of(entry)
                assert same.setdefault(used, shape) == shape
                trace = entry.headers.get('traceparent')
                if trace is not None:
                    assert traces.setdefault(used, trace) == trace
                else:
                    assert entry.endpoint in ('commit', 'event')

            if entry.endpoint in ('commit', 'release'):
                settlements[entry.path.split('/')[3]].add(
                    (entry.endpoint, key))

        for id, found in settlements.items():
            assert len(found) == 1, (id, found)

        for budget in state['budgets']:
            check_balance(budget)
            assert budget['reserved'] == 0, budget

        spent = sum(b['spent'] + b['debt'] for b in state['budgets']
                    if '/' not in b['scope'])
        assert spent == self.sums()['charged']

        return self.check_sums()


def headers_of(entry):
    """What a retry must repeat."""

    return tuple(sorted((k, v) for k, v in entry.headers.items()
                        if k not in ('connection', 'traceparent')))


def check_balance(flat):
    assert flat['allocated'] == (flat['remaining'] + flat['reserved']
                                 + flat['spent'] + flat['debt']), flat


def authority(name, *args, **kw):
    return {'ledger': Ledger, 'cycles': Server}[name](*args, **kw)
