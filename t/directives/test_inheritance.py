# Copyright (C) nginx-cycles authors

"""What a directive at http or server level does in a location, seen on the
wire of a Cycles server and in the reply."""

import pytest

from gateway import (FakeProvider, Nginx, chat_request, chat_stream, free_port,
                     sse_events)
from fake_cycles import FakeCycles


HTTP = '''
    cycles_price_table %%PRICES%%;
    cycles_api_key http-key;
    cycles_subject tenant $http_x_tenant;
    cycles_subject app http-app;
    cycles_dimension level http;
    cycles_dimension other $http_x_other;
    cycles_action http.kind http-name tag1 $http_x_tag tag3;
    cycles_metadata from http;
    cycles_metadata agent $http_user_agent;
    cycles_idempotency_key $http_x_key;
    cycles_estimate_margin 1;
    cycles_max_output_tokens 50;
    cycles_price small input_cost_per_token=1e-06
                       output_cost_per_token=2e-06;
    cycles_model_alias tiny small;
    cycles_ttl 1d;
    cycles_grace_period 60s;
    cycles_overage_policy ALLOW_WITH_OVERDRAFT;
    cycles_deny_status 402;
    cycles_deny_message "denied at http";
    cycles_response_headers amounts;
    cycles_stream_usage off;
    cycles_stream_cutoff on;
    cycles_unknown_price small;
'''

SERVER = '''
    cycles on;
    cycles_authority @cycles;

    location @cycles { proxy_pass http://127.0.0.1:%%CYCLES%%; }

    location /inherits/ { %%PROXY%% }

    location /own/ {
        cycles_api_key own-key;
        cycles_subject tenant $http_x_tenant;
        cycles_dimension level own;
        cycles_action own.kind own-name;
        cycles_metadata from own;
        cycles_idempotency_key "";
        cycles_estimate_margin 2;
        cycles_max_output_tokens 60;
        cycles_price small input_cost_per_token=3e-06
                           output_cost_per_token=4e-06;
        cycles_ttl 1s;
        cycles_grace_period 0;
        cycles_overage_policy REJECT;
        cycles_deny_status 403;
        cycles_deny_message "denied by itself";
        cycles_response_headers on;
        cycles_stream_usage on;
        cycles_stream_cutoff off;
        cycles_unknown_price deny;
        %%PROXY%%
    }

    location /amounts/ {
        cycles_unit CREDITS;
        cycles_estimate 5;
        cycles_actual 3;
        location /amounts/deep/ { %%PROXY%% }
        location /amounts/auto/ {
            cycles_unit TOKENS;
            cycles_estimate auto;
            cycles_actual auto;
            %%PROXY%%
        }
        location /amounts/half/ { cycles_actual estimate; %%PROXY%% }
    }

    location /off/ {
        cycles off;
        location /off/dry/ { cycles dry_run; %%PROXY%% }
        %%PROXY%%
    }

    location /defaults/ {
        cycles_price_table %%PRICES%%;
        %%PROXY%%
    }
'''


class Bench:

    def __init__(self):
        self.cycles = FakeCycles(free_port())
        self.provider = FakeProvider()
        self.cycles.start()
        for unit in 'USD_MICROCENTS', 'TOKENS', 'CREDITS':
            self.cycles.budget('tenant:acme', 10 ** 12, unit)
        self.cycles.budget('tenant:poor', 0)
        self.ng = Nginx(http=HTTP, server=SERVER, cycles=self.cycles.port,
                        proxy='proxy_pass http://127.0.0.1:%%PROVIDER%%;',
                        provider=self.provider.port)
        self.ng.start()

    def ask(self, location, tenant='acme', key='', model='small', **members):
        """A request; the reserve and the commit that belong to it."""

        seen = len(self.cycles.log())
        commits = self.cycles.count('commit')
        body = chat_request(model=model, **members)[2]
        r = self.ng.request('POST', location + 'x', {
            'X-Tenant': tenant, 'X-Other': 'o', 'X-Tag': 'tag2',
            'X-Key': key, 'User-Agent': 'test'}, body)

        if r.status == 200 and r.header('x-cycles-decision') == 'ALLOW':
            self.cycles.wait(
                lambda: self.cycles.count('commit') == commits + 1)

        # a short ttl may ask for an extend in between

        return [r] + [entry for entry in self.cycles.log()[seen:]
                      if entry.endpoint != 'extend']

    def close(self):
        try:
            self.ng.stop()
            self.ng.check()
        finally:
            self.ng.close()
            self.provider.stop()
            self.cycles.stop()


@pytest.fixture(scope='module')
def bench():
    bench = Bench()
    yield bench
    bench.close()


def micro(prompt, completion, inp, out):
    return prompt * inp + completion * out


def test_inherited(bench):
    r, reserve, commit = bench.ask('/inherits/')
    rq = reserve.json

    assert r.status == 200
    assert reserve.headers['x-cycles-api-key'] == 'http-key'
    assert commit.headers['x-cycles-api-key'] == 'http-key'
    assert rq['subject'] == {'tenant': 'acme', 'app': 'http-app',
                             'dimensions': {'level': 'http', 'other': 'o'}}
    assert rq['action'] == {'kind': 'http.kind', 'name': 'http-name',
                            'tags': ['tag1', 'tag2', 'tag3']}
    assert rq['metadata'] == {'from': 'http', 'agent': 'test'}
    assert rq['ttl_ms'] == 86400000
    assert rq['grace_period_ms'] == 60000
    assert rq['overage_policy'] == 'ALLOW_WITH_OVERDRAFT'
    assert rq['estimate'] == {'unit': 'USD_MICROCENTS',
                              'amount': micro(10, 50, 100, 200)}
    assert commit.json['actual']['amount'] == micro(10, 5, 100, 200)
    assert r.header('x-cycles-estimate') == str(micro(10, 50, 100, 200))


def test_own(bench):
    r, reserve, commit = bench.ask('/own/', key='client-key')
    rq = reserve.json

    assert r.status == 200
    assert reserve.headers['x-cycles-api-key'] == 'own-key'
    assert rq['subject'] == {'tenant': 'acme',
                             'dimensions': {'level': 'own'}}
    assert rq['action'] == {'kind': 'own.kind', 'name': 'own-name'}
    assert rq['metadata'] == {'from': 'own'}
    assert rq['idempotency_key'] != 'client-key'
    assert rq['ttl_ms'] == 1000
    assert rq['grace_period_ms'] == 0
    assert rq['overage_policy'] == 'REJECT'
    assert rq['estimate']['amount'] == micro(20, 60, 300, 400)
    assert commit.json['actual']['amount'] == micro(10, 5, 300, 400)
    assert r.header('x-cycles-estimate') is None


def test_defaults_of_the_rest(bench):
    """A table of its own, all else from http: prices and aliases too."""

    _, reserve, commit = bench.ask('/defaults/')
    assert reserve.json['subject']['app'] == 'http-app'
    assert commit.json['actual']['amount'] == micro(10, 5, 100, 200)


def test_alias(bench):
    _, _, commit = bench.ask('/inherits/', model='tiny')
    assert commit.json['actual']['amount'] == micro(10, 5, 100, 200)


def test_unknown_price(bench):
    _, _, commit = bench.ask('/inherits/', model='who')
    assert commit.json['actual']['amount'] == micro(10, 5, 100, 200)
    r = bench.ask('/own/', model='who')[0]
    assert r.status == 403
    assert r.header('x-cycles-reason') == 'UNKNOWN_PRICE'


def test_denials(bench):
    r = bench.ask('/inherits/', tenant='poor')[0]
    assert r.status == 402
    assert r.json['error']['message'] == 'denied at http'
    assert 'cycles' in r.json['error']

    r = bench.ask('/own/', tenant='poor')[0]
    assert r.status == 403
    assert r.json['error']['message'] == 'denied by itself'
    assert 'cycles' not in r.json['error']


def test_stream_usage(bench):
    bench.ask('/inherits/', stream=True)
    assert 'stream_options' not in bench.provider.requests[-1].json
    bench.ask('/own/', stream=True)
    assert bench.provider.requests[-1].json['stream_options'] == {
        'include_usage': True}


def test_stream_cutoff(bench):
    """What a Cycles server has reserved is the most that is committed."""

    for location, cut in ('/inherits/', True), ('/own/', False):
        bench.provider.script(chat_stream(300, with_usage=False))
        r, reserve, commit = bench.ask(location, stream=True)
        assert r.complete
        assert (sse_events(r.body)[-1][1] != '[DONE]') == cut
        assert ('ends here' in r.text) == cut

        reserved = reserve.json['estimate']['amount']
        actual = commit.json['actual']['amount']
        assert (actual <= reserved) == cut
        assert reserved - actual < 400


def test_idempotency_key(bench):
    _, reserve, _ = bench.ask('/inherits/', key='client-key-1')
    assert reserve.json['idempotency_key'] == 'client-key-1'
    _, reserve, _ = bench.ask('/inherits/')
    assert len(reserve.json['idempotency_key']) == 36


@pytest.mark.parametrize('location, unit, estimate, actual', [
    ('/amounts/deep/', 'CREDITS', 5, 3),
    ('/amounts/auto/', 'TOKENS', 10 + 50, 15),
    ('/amounts/half/', 'CREDITS', 5, 5)])
def test_amounts(bench, location, unit, estimate, actual):
    _, reserve, commit = bench.ask(location)
    assert reserve.json['estimate'] == {'unit': unit, 'amount': estimate}
    assert commit.json['actual'] == {'unit': unit, 'amount': actual}


def test_modes(bench):
    answers = bench.ask('/off/')
    assert len(answers) == 1
    assert answers[0].header('x-cycles-decision') is None

    r, reserve = bench.ask('/off/dry/')
    assert reserve.json['dry_run'] is True
    assert r.header('x-cycles-dry-run') == 'ALLOW'


DEFAULTS = '''
    cycles on;
    cycles_authority @cycles;
    cycles_subject tenant $http_x_tenant;
    cycles_price_table %%PRICES%%;
    cycles_api_key k;
    location @cycles { proxy_pass http://127.0.0.1:%%CYCLES%%; }
    location / { proxy_pass http://127.0.0.1:%%PROVIDER%%; }
'''


def test_defaults(nginx, provider):
    """What DESIGN promises where nothing is said."""

    with FakeCycles(free_port()) as cycles:
        cycles.budget('tenant:acme', 10 ** 12)
        ng = nginx(server=DEFAULTS, provider=provider.port,
                   cycles=cycles.port)

        r = ng.chat(tenant='acme')
        cycles.wait(lambda: cycles.count('commit') == 1)
        rq = cycles.log('reserve')[0].json

        assert rq['ttl_ms'] == 60000
        assert rq['grace_period_ms'] == 5000
        assert rq['overage_policy'] == 'ALLOW_IF_AVAILABLE'
        assert rq['action'] == {'kind': 'llm.completion',
                                'name': 'openai:gpt-4o-mini'}
        assert rq['subject'] == {'tenant': 'acme'}
        assert rq['estimate'] == {'unit': 'USD_MICROCENTS',
                                  'amount': 13 * 15 + 16384 * 60}
        assert 'metadata' not in rq
        assert 'dry_run' not in rq or rq['dry_run'] is False
        assert len(rq['idempotency_key']) == 36
        assert r.header('x-cycles-decision') == 'ALLOW'
        assert r.header('x-cycles-estimate') is None
        assert cycles.log('commit')[0].json['actual']['amount'] == 450

        assert ng.chat(tenant='nobody').status == 429
