# Copyright (C) nginx-cycles authors

"""ALLOW_WITH_CAPS in the requests of every API: the limit that it takes, the
tools that go, and that all other bytes stay."""

import json
import random

import pytest

import gateway
from gateway import Reply, budgets


def caps(scope, **members):
    return (scope, 10 ** 12, {'caps': dict(members, above_percent=0)})


ENTRIES = [
    caps('tenant:c50', max_tokens=50),
    caps('tenant:c8', max_tokens=8),
    caps('tenant:c2000', max_tokens=2000),
    caps('tenant:deny', tool_denylist=['shell', 'web_search']),
    caps('tenant:allow', tool_allowlist=['calc'], tool_denylist=['calc']),
    caps('tenant:both', max_tokens=50, tool_denylist=['shell']),
    caps('tenant:cool', cooldown_ms=30000),
]


@pytest.fixture(scope='module')
def provider():
    with gateway.FakeProvider(lambda rq: Reply(
            200, {'Content-Type': 'application/json'}, [b'{}'])) as server:
        yield server


@pytest.fixture(scope='module')
def ng(provider):
    def location(name, more):
        return '''
            location /%s/ {
                cycles on;
                cycles_unknown_price gpt-4o-mini;
                %s
                rewrite ^/%s(/.*)$ $1 break;
                proxy_pass http://127.0.0.1:%%%%PROVIDER%%%%;
            }
        ''' % (name, more, name)

    server = location('plain', '')
    server += location('off', 'cycles_apply_caps off;')
    server += location('signed', 'cycles_signed_requests pass;')
    for name in 'cohere', 'llamacpp', 'mistral':
        server += location(name, 'cycles_provider %s;' % name)

    with gateway.Nginx(http='''
        cycles_ledger main path=%%DIR%%/ledger budgets=%%DIR%%/budgets.json;
        cycles_price_table %%PRICES%%;
        cycles_authority ledger=main;
        cycles_subject tenant $http_x_tenant;
    ''', server=server, provider=provider.port,
            files={'budgets.json': budgets(*ENTRIES)}) as found:
        yield found


def send(ng, provider, tenant, path, body, headers=None):
    """(response, what the provider has got or None)"""

    count = len(provider.requests)
    r = ng.post(path, body.encode(), dict(
        {'Content-Type': 'application/json', 'X-Tenant': tenant},
        **(headers or {})))
    sent = provider.requests[count:]
    if sent:
        assert sent[0].header('content-length') == str(len(sent[0].body))
    gateway.wait_until(lambda: ng.live_reservations() == 0)
    return r, sent[0].body.decode() if sent else None


SAY = '"messages":[{"role":"user","content":"Hi."}]'
PARTS = '"contents":[{"parts":[{"text":"Hi."}]}]'
TURN = '"messages":[{"role":"user","content":[{"text":"Hi."}]}]'


LIMITS = [
    # path, body, the same under a cap of 50
    ('/plain/v1/responses', '{"model":"m","input":"Hi."}',
     '{"max_output_tokens":50,"model":"m","input":"Hi."}'),
    ('/plain/v1/responses', '{"model":"m","max_output_tokens":99}',
     '{"model":"m","max_output_tokens":50}'),
    ('/plain/v1/completions', '{"model":"m","prompt":"Hi.","max_tokens":60}',
     '{"model":"m","prompt":"Hi.","max_tokens":50}'),
    ('/plain/v1/messages', '{"model":"m","max_tokens":1024,' + SAY + '}',
     '{"model":"m","max_tokens":50,' + SAY + '}'),
    ('/plain/v1beta/models/m:generateContent', '{' + PARTS + '}',
     '{"generationConfig":{"maxOutputTokens":50},' + PARTS + '}'),
    ('/plain/v1beta/models/m:generateContent',
     '{' + PARTS + ',"generationConfig":{ "topK":1 }}',
     '{' + PARTS + ',"generationConfig":{"maxOutputTokens":50, "topK":1 }}'),
    ('/plain/v1beta/models/m:generateContent',
     '{' + PARTS + ',"generationConfig":{}}',
     '{' + PARTS + ',"generationConfig":{"maxOutputTokens":50}}'),
    ('/plain/v1beta/models/m:generateContent',
     '{"generationConfig":{"candidateCount":2,"maxOutputTokens":60},'
     + PARTS + '}',
     '{"generationConfig":{"candidateCount":2,"maxOutputTokens":25},'
     + PARTS + '}'),
    ('/plain/model/m/converse', '{' + TURN + '}',
     '{"inferenceConfig":{"maxTokens":50},' + TURN + '}'),
    ('/plain/model/m/converse',
     '{' + TURN + ',"inferenceConfig":{"maxTokens":4096}}',
     '{' + TURN + ',"inferenceConfig":{"maxTokens":50}}'),
    ('/cohere/v2/chat', '{"model":"m",' + SAY + '}',
     '{"max_tokens":50,"model":"m",' + SAY + '}'),
    ('/plain/api/chat', '{"model":"m",' + SAY + ',"options":{"seed":1}}',
     '{"model":"m",' + SAY + ',"options":{"num_predict":50,"seed":1}}'),
    ('/plain/api/generate', '{"model":"m","prompt":"Hi."}',
     '{"options":{"num_predict":50},"model":"m","prompt":"Hi."}'),
    ('/mistral/v1/chat/completions', '{"model":"m",' + SAY + '}',
     '{"max_tokens":50,"model":"m",' + SAY + '}'),
    ('/llamacpp/completion', '{"prompt":"Hi.","n_predict":-1}',
     '{"prompt":"Hi.","n_predict":50}'),
    ('/plain/v1/embeddings', '{"model":"m","input":"Hi."}', None),
]


@pytest.mark.parametrize('path,before,after', LIMITS,
                         ids=[str(i) + c[0] for i, c in enumerate(LIMITS)])
def test_limit(ng, provider, path, before, after):
    r, sent = send(ng, provider, 'c50', path, before)
    assert r.status == 200
    assert r.header('X-Cycles-Decision') == 'ALLOW_WITH_CAPS'
    assert sent == (after or before)
    json.loads(sent)


def test_off(ng, provider):
    body = '{"model":"m","max_tokens":1024,' + SAY + '}'
    r, sent = send(ng, provider, 'c50', '/off/v1/messages', body)
    assert r.status == 200 and sent == body
    r, sent = send(ng, provider, 'cool', '/off/v1/messages', body)
    assert r.status == 200 and sent == body


# Anthropic's thinking has to be below the limit, and 1024 at least

@pytest.mark.parametrize('tenant,before,after', [
    ('c2000', 5000, 1500),
    ('c2000', 1999, 1999),
    ('c2000', 2000, 1500),
    ('c50', 1024, None),
])
def test_thinking(ng, provider, tenant, before, after):
    def body(limit, budget):
        return ('{"max_tokens":%d,"thinking":{"type":"enabled",'
                '"budget_tokens":%d},"model":"m",%s}' % (limit, budget, SAY))

    r, sent = send(ng, provider, tenant, '/plain/v1/messages',
                   body(8000, before))
    if after is None:
        refused(r, sent)
    else:
        assert sent == body(2000, after)


def refused(r, sent, reason='CAPS_NOT_APPLICABLE'):
    assert r.status == 429
    assert r.header('X-Cycles-Reason') == reason
    assert sent is None


def test_nothing_useful_left(ng, provider):
    """Responses takes 16 at least."""

    r, sent = send(ng, provider, 'c8', '/plain/v1/responses',
                   '{"model":"m","input":"Hi."}')
    refused(r, sent)
    assert r.header('x-should-retry') == 'false'
    assert ng.budget('tenant:c8')['remaining'] == 10 ** 12


def test_cooldown_is_transient(ng, provider):
    r, sent = send(ng, provider, 'cool', '/plain/v1/chat/completions',
                   '{"model":"m",' + SAY + '}')
    refused(r, sent, 'COOLDOWN')
    assert r.header('x-should-retry') is None
    assert 25 <= int(r.header('Retry-After')) <= 31
    assert r.json['error']['code'] == 'budget_reserved'


SIGNED = {'Authorization': 'AWS4-HMAC-SHA256 Credential=x/y, Signature=z'}


def test_signed(ng, provider):
    """A body that is signed is not changed."""

    before = '{' + TURN + '}'
    r, sent = send(ng, provider, 'c50', '/plain/model/m/converse', before,
                   SIGNED)
    refused(r, sent)
    r, sent = send(ng, provider, 'c50', '/signed/model/m/converse', before,
                   SIGNED)
    assert r.status == 200 and sent == before
    within = '{' + TURN + ',"inferenceConfig":{"maxTokens":50}}'
    r, sent = send(ng, provider, 'c50', '/plain/model/m/converse', within,
                   SIGNED)
    assert r.status == 200 and sent == within


# tools

def chat_tool(name):
    return '{"type":"function","function":{"name":"%s"}}' % name


def claude_tool(name):
    return '{"name":"%s","input_schema":{}}' % name


def converse_tool(name):
    return '{"toolSpec":{"name":"%s"}}' % name


CHAT = '/plain/v1/chat/completions'
A, S, C, W = map(chat_tool, ('add', 'shell', 'calc', 'web_search'))

TOOLS = [
    # tenant, path, body, the same without the tools
    ('deny', CHAT, '"tools":[%s,%s,%s]' % (A, S, C),
     '"tools":[%s,%s]' % (A, C)),
    ('deny', CHAT, '"tools":[%s, %s]' % (S, A), '"tools":[%s]' % A),
    ('deny', CHAT, '"tools":[%s, %s ]' % (A, S), '"tools":[%s ]' % A),
    ('deny', CHAT, '"tools":[%s,%s,%s,%s]' % (S, W, A, S), '"tools":[%s]' % A),
    ('deny', CHAT, '"tools":[%s]' % A, '"tools":[%s]' % A),
    ('deny', CHAT, '"x":1,"tools":[%s],"tool_choice":"auto","y":2' % S,
     '"x":1,"y":2'),
    ('deny', CHAT, '"tools":[%s,%s],"tool_choice":{"type":"function",'
     '"function":{"name":"shell"}},"y":2' % (S, A), '"tools":[%s],"y":2' % A),
    ('deny', CHAT, '"tools":[%s,%s],"tool_choice":{"type":"function",'
     '"function":{"name":"add"}}' % (S, A),
     '"tools":[%s],"tool_choice":{"type":"function",'
     '"function":{"name":"add"}}' % A),
    ('allow', CHAT, '"tools":[%s,%s,%s]' % (A, C, S), '"tools":[%s]' % C),
    ('both', CHAT, '"max_tokens":99,"tools":[%s,%s]' % (S, A),
     '"max_tokens":50,"tools":[%s]' % A),
    ('deny', '/plain/v1/responses',
     '"tools":[{"type":"web_search"},{"type":"function","name":"add"}]',
     '"tools":[{"type":"function","name":"add"}]'),
    ('deny', '/plain/v1/messages', '"max_tokens":9,"tools":[%s,%s]' % (
        claude_tool('add'), claude_tool('shell')),
     '"max_tokens":9,"tools":[%s]' % claude_tool('add')),
    ('deny', '/plain/model/m/converse', '"toolConfig":{"tools":[%s,%s]}' % (
        converse_tool('shell'), converse_tool('add')),
     '"toolConfig":{"tools":[%s]}' % converse_tool('add')),
    ('deny', '/plain/model/m/converse',
     '"toolConfig":{"tools":[%s],"toolChoice":{"any":{}}}'
     % converse_tool('shell'), ''),
    ('deny', '/plain/v1beta/models/m:generateContent',
     '"tools":[{"functionDeclarations":[{"name":"add"},{"name":"shell"}]}]',
     '"tools":[{"functionDeclarations":[{"name":"add"}]}]'),
]


def wrap(path, members, first):
    rest = {'/plain/model/m/converse': TURN,
            '/plain/v1beta/models/m:generateContent': PARTS,
            '/plain/v1/responses': '"model":"m","input":"Hi."'}.get(
                path, '"model":"m",' + SAY)
    parts = [members, rest] if first else [rest, members]
    return '{%s}' % ','.join(part for part in parts if part)


@pytest.mark.parametrize('first', [True, False], ids=['first', 'last'])
@pytest.mark.parametrize('tenant,path,before,after', TOOLS,
                         ids=[str(i) for i in range(len(TOOLS))])
def test_tools(ng, provider, tenant, path, before, after, first):
    r, sent = send(ng, provider, tenant, path, wrap(path, before, first))
    assert r.status == 200
    assert sent == wrap(path, after, first)


def test_all_tools_gone(ng, provider):
    """With what chooses among them, wherever they are."""

    members = ['"model":"m"', SAY, '"tools":[%s,%s]' % (S, W),
               '"tool_choice":"required"']
    rnd = random.Random(7)
    for _ in range(12):
        rnd.shuffle(members)
        r, sent = send(ng, provider, 'deny', CHAT, '{%s}' % ','.join(members))
        left = [m for m in members if m in ('"model":"m"', SAY)]
        assert sent == '{%s}' % ','.join(left)


def test_random_tools(ng, provider):
    """The rest is as it was: order, spaces, and all."""

    rnd = random.Random(11)
    names = ['add', 'shell', 'calc', 'web_search', 'read']
    for _ in range(40):
        chosen = [rnd.choice(names) for _ in range(rnd.randrange(1, 9))]
        tools = [chat_tool(name) for name in chosen]
        text = ('{"model":"m","tools":[' + ' , '.join(tools) + '],' + SAY
                + '}')
        r, sent = send(ng, provider, 'deny', CHAT, text)
        got = json.loads(sent)
        kept = [n for n in chosen if n not in ('shell', 'web_search')]
        assert [t['function']['name'] for t in got.get('tools', [])] == kept
        assert got['messages'] == json.loads(text)['messages']
        assert ('tools' in got) == bool(kept)
