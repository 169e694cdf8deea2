# Copyright (C) nginx-cycles authors

"""The body of a request: in whatever form it comes, what is read of it, and
what the provider receives of it, byte for byte."""

import gzip
import json
import subprocess

import pytest

import gateway
from gateway import Gate, chat, chat_request, error
from meter import BASE, Scene, Whole, cost, estimate


LOCATIONS = {
    'plain': '',
    'file': 'client_body_buffer_size 1k;',
    'in_file': 'client_body_in_file_only clean;',
    'single': 'client_body_in_single_buffer on; client_body_buffer_size 1m;',
    'direct': 'proxy_request_buffering off;',
    'nousage': 'cycles_stream_usage off;',
    'by_name': '''
        client_body_in_file_only clean;
        proxy_pass_request_body off;
        proxy_set_header Content-Length "";
        proxy_set_header X-File $request_body_file;
    ''',
    'accept': 'proxy_set_header Accept-Encoding $http_accept_encoding;',
    'people': '''
        cycles_subject workspace $http_x_workspace;
        cycles_subject app $http_x_app;
        cycles_dimension team $http_x_team;
    ''',
    'late': '''
        cycles_action $arg_kind $arg_name $arg_tag;
        cycles_idempotency_key $http_x_key;
    ''',
}


# the same provider twice: a request that failed goes to the next one

TWICE = '''
    upstream twice {
        server 127.0.0.1:%%PROVIDER%% max_fails=0;
        server 127.0.0.1:%%PROVIDER%% max_fails=0;
    }
'''

for _name, _more in (
        ('next', ''), ('next_file', 'client_body_buffer_size 1k;'),
        ('next_in_file', 'client_body_in_file_only clean;')):
    LOCATIONS[_name] = Whole(BASE + _more + '''
        proxy_next_upstream http_500 non_idempotent;
        proxy_pass http://twice;
    ''')


@pytest.fixture(scope='module')
def scene():
    scene = Scene(LOCATIONS, http=TWICE, server='client_max_body_size 8m;')
    yield scene
    scene.finish()


SAY = '"messages":[{"role":"user","content":"Say hello."}]'
USAGE = '"stream_options":{"include_usage":true},'


def body_of(size, stream):
    """A body of at least size bytes, whose facts stand at its end."""

    text = 'All human beings are born free. '
    content = text * (size // len(text) + 1)
    body = {'messages': [{'role': 'user', 'content': content}],
            'temperature': 0.5, 'max_tokens': 100, 'model': 'gpt-4o-mini'}
    if stream:
        body['stream'] = True
    return content, json.dumps(body).encode()


def with_usage(body):
    return body[:1] + USAGE.encode() + body[1:]


def pieces(body, size):
    return [body[i:i + size] for i in range(0, len(body), size)]


FORMS = {
    'length': {},
    'one chunk': {'chunked': lambda body: [body]},
    'chunks of 100 bytes': {'chunked': lambda body: pieces(body, 100)},
    'chunks of 5000 bytes': {'chunked': lambda body: pieces(body, 5000)},
    'http2': {'h2': True},
}


@pytest.mark.parametrize('stream', [False, True], ids=['plain', 'stream'])
@pytest.mark.parametrize('form', FORMS)
@pytest.mark.parametrize('location', ['plain', 'file', 'in_file', 'single',
                                      'direct'])
def test_forms(scene, location, form, stream):
    for size in 60, 5000, 300000:
        content, body = body_of(size, stream)
        kw = dict(FORMS[form])
        if 'chunked' in kw:
            kw['chunked'] = kw['chunked'](body)

        x = scene.send(location, None if 'chunked' in kw else body, **kw)

        assert x.r.status == 200
        assert x.number('estimate') == estimate(content=content, output=100)
        assert len(x.requests) == 1
        assert x.sent.body == (with_usage(body) if stream else body)
        assert x.sent.header('content-length') == str(len(x.sent.body))
        assert x.sent.header('transfer-encoding') is None
        assert x.spent == cost()


def test_body_of_single_bytes(scene):
    """Written byte by byte: each is a read of its own, or as good as that."""

    content, body = body_of(60, True)
    x, path = scene.begin('plain')
    with scene.ng.connect() as conn:
        head = gateway.build_request('POST', path, {
            'X-Tenant': x.tenant, 'Connection': 'close',
            'Content-Length': str(len(body))})
        for byte in head + body:
            conn.send(bytes([byte]))
        assert conn.read_response().status == 200

    assert x.number('estimate') == estimate(content=content, output=100)
    assert scene.provider.requests[-1].body == with_usage(body)


def test_http2_without_a_length(scene):
    """What is sent while it is made has none."""

    content, body = body_of(50000, True)
    x, path = scene.begin('file')
    argv = ['curl', '-sS', '--http2-prior-knowledge', '-X', 'POST', '-T', '-',
            '-H', 'X-Tenant: ' + x.tenant, '-o', '/dev/null', '-w',
            '%{http_code}', '--max-time', str(gateway.TIMEOUT),
            'http://127.0.0.1:%d%s' % (scene.ng.h2_port, path)]
    done = subprocess.run(argv, input=body, stdout=subprocess.PIPE)

    assert done.stdout == b'200'
    assert x.number('estimate') == estimate(content=content, output=100)
    sent = scene.provider.requests[-1]
    assert sent.body == with_usage(body)
    assert sent.header('content-length') == str(len(sent.body))


def test_body_over_the_limit_of_nginx(scene):
    x = scene.send('plain', b'{"model":"gpt-4o","x":"' + 9 * 1024 * 1024
                   * b'a' + b'"}')
    assert x.r.status == 413
    assert x.sent is None
    assert (x.spent, x.reserved) == (0, 0)


def test_expect_continue(scene):
    x, path = scene.begin('plain')
    body = chat_request()[2]
    with scene.ng.connect() as conn:
        conn.send(gateway.build_request('POST', path, {
            'X-Tenant': x.tenant, 'Content-Length': str(len(body)),
            'Expect': '100-continue', 'Connection': 'close'}))
        assert conn.read_until(b'\r\n\r\n') == \
            b'HTTP/1.1 100 Continue\r\n\r\n'
        conn.send(body)
        assert conn.read_response().status == 200
    assert x.spent == cost()


def test_keepalive_and_pipelining(scene):
    with scene.ng.connect() as conn:
        marks = []
        data = b''
        for i in range(4):
            x, path = scene.begin('plain')
            body = chat_request(max_tokens=10 + i)[2]
            data += gateway.build_request('POST', path, {
                'X-Tenant': x.tenant}, body)
            marks.append(x)
        conn.send(data)
        for i, x in enumerate(marks):
            assert conn.read_response().status == 200
            assert x.number('estimate') == estimate(output=10 + i)
            assert x.spent == cost()


# untouched unless something has to change


UNTOUCHED = [
    '{"model":"gpt-4o-mini",' + SAY + '}',
    '\n\t { "model" :\r\n "gpt-4o-mini" , ' + SAY + ' } \r\n',
    '{"model":"gpt-4o-mini","stream":false,' + SAY + '}',
    '{"model":"gpt-4o-mini","stream":null,' + SAY + '}',
    '{"model":"gpt-4o-mini","stream":false,"stream_options":null,'
    + SAY + '}',
    '{"model":"gpt-4o-mini","top_p":1.0,"seed":12345678901234567890,'
    '"temperature":1e-1,' + SAY + '}',
    '{"mod\\u0065l":"gpt-4o-mini",' + SAY + '}',
    '{"model":"gpt-4o-mini","user":"caf\\u00e9 \u00e9 \\ud83d\\ude00",'
    + SAY + '}',
    '{"model":"gpt-4o-mini","stream":true,'
    '"stream_options":{"include_usage":true},' + SAY + '}',
    '{"model":"gpt-4o-mini","stream":true,'
    '"stream_options":{"include_usage":false},' + SAY + '}',
    '{"stream_options":{"include_obfuscation":false,"include_usage":true},'
    '"model":"gpt-4o-mini","stream":true,' + SAY + '}',
    '{"model":"gpt-4o-mini","stream":true,'
    '"stream_options":{"include_usage":null},' + SAY + '}',
]


@pytest.mark.parametrize('location', ['plain', 'file'])
@pytest.mark.parametrize('body', UNTOUCHED)
def test_untouched(scene, location, body):
    x = scene.send(location, body.encode())
    assert x.r.status == 200
    assert x.sent.body == body.encode()
    assert x.sent.header('content-length') == str(len(body.encode()))
    assert x.log['cycles_model'] == 'gpt-4o-mini'


SPLICED = [
    # before, after
    ('{"model":"gpt-4o-mini","stream":true,' + SAY + '}',
     '{' + USAGE + '"model":"gpt-4o-mini","stream":true,' + SAY + '}'),
    (' \n{ \n"model":"gpt-4o-mini","stream" : true,' + SAY + '}\n',
     ' \n{' + USAGE + ' \n"model":"gpt-4o-mini","stream" : true,' + SAY
     + '}\n'),
    ('{"model":"gpt-4o-mini","stream":true,"stream_options":null,' + SAY
     + '}',
     '{"model":"gpt-4o-mini","stream":true,'
     '"stream_options":{"include_usage":true},' + SAY + '}'),
    ('{"model":"gpt-4o-mini","stream":true,"stream_options": null ,' + SAY
     + '}',
     '{"model":"gpt-4o-mini","stream":true,'
     '"stream_options": {"include_usage":true} ,' + SAY + '}'),
    ('{"model":"gpt-4o-mini","stream":true,"stream_options":{},' + SAY + '}',
     '{"model":"gpt-4o-mini","stream":true,'
     '"stream_options":{"include_usage":true},' + SAY + '}'),
    ('{"model":"gpt-4o-mini","stream":true,"stream_options":{ \n},' + SAY
     + '}',
     '{"model":"gpt-4o-mini","stream":true,'
     '"stream_options":{"include_usage":true \n},' + SAY + '}'),
    ('{"model":"gpt-4o-mini","stream":true,'
     '"stream_options":{"include_obfuscation":false},' + SAY + '}',
     '{"model":"gpt-4o-mini","stream":true,'
     '"stream_options":{"include_usage":true,"include_obfuscation":false},'
     + SAY + '}'),
    ('{"stream_options":{"include_obfuscation":false},' + SAY
     + ',"stream":true,"model":"gpt-4o-mini"}',
     '{"stream_options":{"include_usage":true,"include_obfuscation":false},'
     + SAY + ',"stream":true,"model":"gpt-4o-mini"}'),
    ('{"str\\u0065am":true,"model":"gpt-4o-mini",' + SAY + '}',
     '{' + USAGE + '"str\\u0065am":true,"model":"gpt-4o-mini",' + SAY + '}'),
]


@pytest.mark.parametrize('location', ['plain', 'file', 'single', 'in_file'])
@pytest.mark.parametrize('before, after', SPLICED)
def test_spliced(scene, location, before, after):
    json.loads(after)

    x = scene.send(location, before.encode())
    assert x.r.status == 200
    assert x.sent.body == after.encode()
    assert x.sent.header('content-length') == str(len(after.encode()))
    assert b'"choices": []' not in x.r.body
    assert x.spent == cost(completion=5)
    assert x.log['cycles_usage_source'] == 'reported'


def test_splice_far_behind(scene):
    """In the file, and where a buffer in memory and the file meet."""

    for size in 1000, 1024, 16300, 16384, 16500, 200000:
        text = 'x' * size
        start = ('{"model":"gpt-4o-mini","user":"%s","stream":true,'
                 '"stream_options":{' % text).encode()
        end = ('"include_obfuscation":false},%s}' % SAY).encode()
        for location in 'plain', 'file':
            for kw in {}, {'chunked': pieces(start + end, 900)}:
                x = scene.send(location, None if kw else start + end, **kw)
                assert x.sent.body == start + b'"include_usage":true,' + end


@pytest.mark.parametrize('location', ['next', 'next_file',
                                      'next_in_file'])
@pytest.mark.parametrize('size', [60, 5000, 20000, 300000])
def test_spliced_body_for_the_next_provider(scene, location, size):
    """The second one gets the same bytes as the first."""

    text = 'x' * size
    for before, after in (
            (body_of(size, True)[1], with_usage(body_of(size, True)[1])),
            ('{"model":"gpt-4o-mini","user":"%s","stream":true,'
             '"stream_options":{"a":1},%s}' % (text, SAY),
             '{"model":"gpt-4o-mini","user":"%s","stream":true,'
             '"stream_options":{"include_usage":true,"a":1},%s}' % (
                 text, SAY)),
            ('{"model":"gpt-4o-mini","user":"%s","stream":true,%s,'
             '"stream_options":null}' % (text, SAY),
             '{"model":"gpt-4o-mini","user":"%s","stream":true,%s,'
             '"stream_options":{"include_usage":true}}' % (text, SAY))):
        before, after = [t if isinstance(t, bytes) else t.encode()
                         for t in (before, after)]
        for kw in {}, {'chunked': pieces(before, 3000)}:
            x = scene.send(location, None if kw else before,
                           reply=[error(500), chat()], **kw)
            assert x.r.status == 200
            assert [rq.body for rq in x.requests] == [after, after]
            assert x.spent == cost()


def test_spliced_body_by_the_name_of_its_file(scene):
    """For those that hand the file on, not its bytes."""

    seen = []

    def reply(rq):
        with open(rq.header('x-file'), 'rb') as file:
            seen.append(file.read())
        return chat()(rq)

    body = body_of(5000, True)[1]
    x = scene.send('by_name', body, reply=reply)
    assert x.r.status == 200
    assert x.sent.body == b''
    assert seen == [with_usage(body)]


def test_no_splice_when_it_is_off(scene):
    body = SPLICED[0][0].encode()
    x = scene.send('nousage', body)
    assert x.sent.body == body
    assert x.log['cycles_usage_source'] == 'estimated'
    assert x.spent > 0


# what can't be understood


MATTERS = {
    'model': '"gpt-4o-mini"',
    'messages': '[{"role":"user","content":"Say hello."}]',
    'stream': 'false',
    'stream_options': '{"include_usage":true}',
    'max_tokens': '10',
    'max_completion_tokens': '10',
    'n': '1',
    'tools': '[]',
    'functions': '[]',
    'response_format': '{"type":"text"}',
}


def refused(scene, body, *says, location='plain', **kw):
    x = scene.send(location, body, **kw)
    problem = x.r.json['error']

    assert x.r.status == 400
    assert problem['type'] == 'invalid_request_error'
    assert problem['code'] == 'invalid_request'
    assert problem['param'] is None
    for part in says:
        assert part in problem['message']

    assert x.r.header('content-type') == 'application/json'
    assert x.r.header('cache-control') == 'no-store'
    assert x.r.header('retry-after') is None
    assert x.sent is None
    assert (x.spent, x.reserved) == (0, 0)
    assert x.log['cycles_decision'] == 'DENY'
    assert x.log['cycles_reason'] == 'INVALID_REQUEST'
    return x


def escape(name):
    return name[:-1] + '\\u%04x' % ord(name[-1])


@pytest.mark.parametrize('member', MATTERS)
def test_duplicates(scene, member):
    for first, second in ((member, member), (member, escape(member)),
                          (escape(member), member)):
        members = dict(MATTERS)
        value = members.pop(member)
        text = ','.join('"%s":%s' % item for item in members.items())
        body = '{"%s":%s,%s,"%s":%s}' % (first, value, text, second, value)
        refused(scene, body.encode(), '"%s"' % member, 'twice')


def test_duplicates_in_a_file(scene):
    body = '{"model":"gpt-4o-mini","pad":"%s",%s,"model":"gpt-4o-mini"}' % (
        'x' * 100000, SAY)
    refused(scene, body.encode(), '"model"', 'twice', location='file')
    refused(scene, None, '"model"', 'twice', location='file',
            chunked=pieces(body.encode(), 1000))
    refused(scene, body.encode(), '"model"', 'twice', h2=True)


def test_duplicate_include_usage(scene):
    refused(scene, ('{"model":"gpt-4o-mini","stream":true,"stream_options":'
                    '{"include_usage":true,"include_usage":false},%s}'
                    % SAY).encode(), '"include_usage"', 'twice')


def test_duplicates_that_do_not_matter(scene):
    body = ('{"model":"gpt-4o-mini","user":"a","user":"b","metadata":'
            '{"model":"x","model":"y"},%s}' % SAY).encode()
    x = scene.send('plain', body)
    assert x.r.status == 200
    assert x.sent.body == body


@pytest.mark.parametrize('body, says', [
    ('', 'empty'),
    ('   \n', 'empty'),
    ('hello', 'JSON'),
    ('[]', 'JSON object'),
    ('"model"', 'JSON object'),
    ('{"model":"gpt-4o-mini"', 'ends before'),
    ('{"model":"gpt-4o-mini",}', 'JSON'),
    ('{"model":"gpt-4o-mini"} {}', 'JSON'),
    ('{\'model\':\'gpt-4o-mini\'}', 'JSON'),
    ('\ufeff{"model":"gpt-4o-mini"}', 'byte order mark'),
    ('{"model":5}', '"model" must be'),
    ('{"model":null}', '"model" must be'),
    ('{"model":"%s"}' % (257 * 'm'), '256'),
    ('{"model":"a\\u0000b"}', 'printable'),
    ('{"model":"gpt-4o-mini","stream":"yes"}', '"stream" must be'),
    ('{"model":"gpt-4o-mini","stream":1}', '"stream" must be'),
    ('{"model":"gpt-4o-mini","stream_options":true}',
     '"stream_options" must be'),
    ('{"model":"gpt-4o-mini","stream":true,'
     '"stream_options":{"include_usage":"no"}}', '"include_usage" must be'),
    ('{"model":"gpt-4o-mini","max_tokens":0}', '"max_tokens" must be'),
    ('{"model":"gpt-4o-mini","max_tokens":-5}', '"max_tokens" must be'),
    ('{"model":"gpt-4o-mini","max_tokens":1.5}', '"max_tokens" must be'),
    ('{"model":"gpt-4o-mini","max_tokens":"5"}', '"max_tokens" must be'),
    ('{"model":"gpt-4o-mini","max_completion_tokens":[5]}',
     '"max_completion_tokens" must be'),
    ('{"model":"gpt-4o-mini","max_tokens":1e30}', '"max_tokens" must be'),
    ('{"model":"gpt-4o-mini","n":0}', '"n" must be'),
    ('{"model":"gpt-4o-mini","n":129}', '"n" must be'),
    ('{"model":"gpt-4o-mini","n":true}', '"n" must be'),
    ('{"model":"gpt-4o-mini","messages":{}}', '"messages" must be'),
    ('{"model":"gpt-4o-mini","Max_Tokens":5}', 'other capital letters'),
    ('{"model":"gpt-4o-mini","a":' + 200 * '[' + 200 * ']' + '}', 'deep'),
])
def test_not_understood(scene, body, says):
    refused(scene, body.encode(), says)


def test_not_utf8(scene):
    refused(scene, b'{"model":"gpt-4o-mini","user":"\xff\xfe"}', 'UTF-8')


def test_no_body_at_all(scene):
    x = scene.send('plain')
    assert x.r.status == 400
    assert x.sent is None


def test_encoded_body(scene):
    """A gzip body can't be read, so it is refused and not passed at no
    cost."""

    body = gzip.compress(UNTOUCHED[0].encode())
    x = scene.send('plain', body, headers={'Content-Encoding': 'gzip'})
    assert x.r.status == 400
    assert x.sent is None


def test_decoys(scene):
    """What looks like a fact but is not at the top."""

    decoy = json.dumps('{"model":"gpt-4o","max_tokens":1,"stream":true}')
    body = ('{"metadata":{"model":"gpt-4o","max_tokens":1,"n":9,'
            '"stream":true,"stream_options":{}},"user":%s,'
            '"messages":[{"role":"user","content":"Say hello.","n":7,'
            '"max_tokens":3}],"max_tokens":50,"model":"gpt-4o-mini",'
            '"stop":["\\"model\\":\\"gpt-4o\\""]}' % decoy).encode()
    x = scene.send('plain', body)
    assert x.r.status == 200
    assert x.log['cycles_price_key'] == 'gpt-4o-mini'
    assert x.number('estimate') == estimate(output=50)
    assert x.sent.body == body


def test_escaped_keys_count(scene):
    body = ('{"m\\u006fdel":"gpt-4\\u006f-mini","max\\u005ftokens":50,'
            '"\\u006e":2,%s}' % SAY).encode()
    x = scene.send('plain', body)
    assert x.r.status == 200
    assert x.number('estimate') == estimate(output=50, n=2)
    assert x.sent.body == body


# headers


def test_headers_are_kept(scene):
    headers = {
        'Authorization': 'Bearer sk-secret', 'OpenAI-Organization': 'org-1',
        'OpenAI-Project': 'p', 'X-Stainless-Retry-Count': '1',
        'User-Agent': 'OpenAI/Python 1', 'Idempotency-Key': 'abc',
        'Accept': 'text/event-stream', 'X-Custom': 'a, b'}
    for stream in False, True:
        x = scene.chat('plain', headers=headers, stream=stream)
        for name, value in headers.items():
            assert x.sent.header(name) == value
        names = [name.lower() for name, _ in x.sent.headers]
        assert len(names) == len(set(names))
        assert x.sent.header('content-type') == 'application/json'
        assert not [n for n in names if n.startswith('x-cycles')]


@pytest.mark.parametrize('value', ['gzip', 'gzip, deflate, br', '*',
                                   'identity;q=0'])
@pytest.mark.parametrize('location', ['plain', 'accept'])
def test_identity_is_asked_for(scene, location, value):
    x = scene.chat(location, headers={'Accept-Encoding': value})
    if location == 'plain':
        assert x.sent.header('accept-encoding') == 'identity'
    assert x.spent == cost()


def test_no_encoding_is_asked_for_by_itself(scene):
    x = scene.chat('plain')
    assert x.sent.header('accept-encoding') is None


def test_upgrade(scene):
    """A connection that turns into another protocol can't be metered; one
    that only offers HTTP/2, as Java's client does, is an ordinary one."""

    x = scene.chat('plain', headers={'Upgrade': 'websocket',
                                     'Connection': 'Upgrade'})
    assert x.r.status == 400
    assert x.sent is None

    x = scene.send('plain', method='GET', headers={
        'Upgrade': 'websocket', 'Connection': 'Upgrade'})
    assert x.r.status == 400
    assert x.sent is None

    x = scene.chat('plain', headers={
        'Upgrade': 'h2c', 'Connection': 'Upgrade, HTTP2-Settings',
        'HTTP2-Settings': 'AAMAAABkAAQBAAAAAAIAAAAA'})
    assert x.r.status == 200
    assert x.spent == cost()


# methods


@pytest.mark.parametrize('method', ['GET', 'HEAD', 'OPTIONS', 'DELETE'])
def test_free_methods(scene, method):
    x = scene.send('plain', method=method, path='/v1/models')
    assert x.r.status == 200
    assert x.sent.method == method
    assert x.log['cycles_decision'] == 'BYPASS'
    assert x.r.header('x-cycles-decision') == 'BYPASS'
    assert x.log['cycles_settlement'] == ''
    assert x.log['cycles_estimate'] == ''
    assert (x.spent, x.reserved) == (0, 0)


@pytest.mark.parametrize('method', ['PUT', 'PATCH'])
def test_methods_with_a_body(scene, method):
    x = scene.send('plain', chat_request()[2], method=method)
    assert x.r.status == 200
    assert x.log['cycles_decision'] == 'ALLOW'
    assert x.spent == cost()


# the subject


GOOD = ['acme', 'a', 'A-z_0.9', '...', 128 * 'x']
BAD = ['a b', 'a/b', 'a:b', 'caf\u00e9', 'a,b', 'a"b', 129 * 'x', '%20', '*']


@pytest.mark.parametrize('value', GOOD)
@pytest.mark.parametrize('level', ['workspace', 'app'])
def test_subject(scene, level, value):
    x = scene.chat('people', headers={'X-' + level.capitalize(): value})
    assert x.r.status == 200
    assert x.log['cycles_scope'].lower() == 'tenant:%s/%s:%s' % (
        x.tenant, level, value.lower())
    assert x.spent == cost()


@pytest.mark.parametrize('value', BAD)
@pytest.mark.parametrize('level', ['tenant', 'workspace', 'app'])
def test_bad_subject(scene, level, value):
    headers = {'X-' + level.capitalize(): value.encode().decode('latin-1')}
    x = refused(scene, chat_request()[2], '"%s"' % level,
                '1 to 128 characters', location='people', headers=headers)
    assert value not in x.r.json['error']['message'] or len(value) < 3


def test_empty_levels_are_left_out(scene):
    x = scene.chat('people', headers={'X-Workspace': '', 'X-App': 'bot'})
    assert x.r.status == 200
    assert x.log['cycles_scope'] == 'tenant:%s/app:bot' % x.tenant


def test_no_level_at_all(scene):
    refused(scene, chat_request()[2], 'subject', location='people',
            headers={'X-Tenant': ''})
    refused(scene, chat_request()[2], 'subject', headers={'X-Tenant': None})


def test_tenant_of_another_case_has_the_same_budget(scene):
    tenant = scene.tenant()
    x = scene.chat('plain', headers={'X-Tenant': tenant.upper()},
                   tenant=tenant)
    assert x.r.status == 200
    assert x.spent == cost()


def test_dimensions(scene):
    x = scene.chat('people', headers={'X-Team': 256 * 'd'})
    assert x.r.status == 200

    refused(scene, chat_request()[2], '"team"', '256', location='people',
            headers={'X-Team': 257 * 'd'})


@pytest.mark.parametrize('query, says', [
    ('kind=&name=n', 'action kind must be 1 to 64'),
    ('kind=%s&name=n' % (65 * 'k'), 'action kind must be 1 to 64'),
    ('kind=k&name=', 'action name must be 1 to 256'),
    ('kind=k&name=%s' % (257 * 'n'), 'action name must be 1 to 256'),
    ('kind=k&name=n&tag=%s' % (65 * 't'), 'action tag is longer than 64'),
])
def test_bad_action(scene, query, says):
    refused(scene, chat_request()[2], says, location='late',
            path='/v1/chat/completions?' + query)


def test_action(scene):
    x = scene.chat_at('late', '/v1/chat/completions?kind=%s&name=%s&tag='
                      % (64 * 'k', 256 * 'n'))
    assert x.r.status == 200


def test_idempotency_key_too_long(scene):
    refused(scene, chat_request()[2], 'idempotency key', '256',
            location='late', path='/v1/chat/completions?kind=k&name=n',
            headers={'X-Key': 257 * 'k'})


def test_client_leaves_inside_its_body(scene):
    """Nothing was asked for, so nothing is held."""

    x, path = scene.begin('plain')
    conn = scene.ng.connect()
    conn.send(gateway.build_request('POST', path, {
        'X-Tenant': x.tenant, 'Content-Length': '1000'}))
    conn.send(b'{"model":')
    conn.reset()
    assert x.log['status'] in ('400', '499')
    assert (x.spent, x.reserved) == (0, 0)


def test_provider_gets_the_request_only_after_the_whole_body(scene):
    """Also with proxy_request_buffering off: what a request costs is known
    only when it is all there."""

    gate = Gate()
    x, path = scene.begin('direct')
    body = chat_request()[2]
    seen = len(scene.provider.requests)

    with scene.ng.connect() as conn:
        conn.send(gateway.build_request('POST', path, {
            'X-Tenant': x.tenant, 'Content-Length': str(len(body))}))
        conn.send(body[:-1])

        # a whole exchange passes meanwhile

        scene.chat('plain')
        assert len(scene.provider.requests) == seen + 1

        scene.provider.script(chat(gate=gate))
        conn.send(body[-1:])
        gate.wait_reached()
        gate.open()
        assert conn.read_response().status == 200

    assert len(scene.provider.requests) == seen + 2
    assert x.spent == cost()
