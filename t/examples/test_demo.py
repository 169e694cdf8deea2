# Copyright (C) nginx-cycles authors

"""demo/demo.py, which "make demo" runs: in front of the mock, and of OpenAI
itself, for which a stand-in with its certificate answers here."""

import importlib.util
import os
import re

import pytest

import gateway
from gateway import ROOT, chat, error
from tls import TlsProvider, make_certificates


BUILD = os.environ.get('BUILD') or os.path.join(ROOT, 'build')

HOST = 'api.openai.com'


@pytest.fixture
def demo(tmp_path, monkeypatch):
    """The module, in a directory of its own."""

    path = os.path.join(ROOT, 'demo', 'demo.py')
    spec = importlib.util.spec_from_file_location('demo', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    (tmp_path / 'node').symlink_to(os.path.join(BUILD, 'node'))
    for name, value in (('BUILD', str(tmp_path)), ('KEY', None),
                        ('MODULE', gateway.MODULE),
                        ('NGINX', gateway.BINARY)):
        monkeypatch.setattr(module, name, value)

    # it ends fast, which to a sanitizer looks like leaks

    monkeypatch.setenv('ASAN_OPTIONS', ':'.join(
        [os.environ.get('ASAN_OPTIONS', ''), 'detect_leaks=0']))
    return module


@pytest.fixture
def openai(demo, tmp_path, monkeypatch):
    """api.openai.com, with a key; all but its address is as it is."""

    certificates = make_certificates(tmp_path, [HOST])

    with TlsProvider(certificates) as provider:

        def start_provider(self):
            assert demo_start(self) == HOST + ':443'
            return '127.0.0.1:%d' % provider.port

        demo_start = demo.Demo.start_provider
        monkeypatch.setattr(demo.Demo, 'start_provider', start_provider)
        monkeypatch.setattr(demo, 'KEY', 'sk-of-the-test')
        tls = demo.TLS.replace('/etc/ssl/certs/ca-certificates.crt',
                               str(certificates / 'ca.pem'))
        assert tls != demo.TLS
        monkeypatch.setattr(demo, 'TLS', tls)
        yield provider


def rows(text):
    """[(tenant/app, request, status, decision)]"""

    return [tuple(part.strip() for part in match) for match in re.findall(
        r'^\d+ +(\S+) +(chat[a-z, ]*?) +(\d+)  (.*?)  +', text, re.M)]


def is_right(text):
    """Requests of both kinds until the budget is spent, and not the other's;
    the dry run says so and blocks nothing."""

    found = rows(text)
    mine = [row[1:] for row in found if row[0] == 'acme/chatbot']
    assert mine[:2] == [('chat', '200', 'ALLOW'),
                        ('chat, streaming', '200', 'ALLOW')]
    assert mine[-2][1:] == ('429', 'DENY')
    assert mine[-1] == ('chat, dry run', '200', 'dry run: DENY')
    assert {row[2:] for row in found if row[0] == 'globex/search'} \
        == {('200', 'ALLOW')}
    assert '    HTTP 429\n' in text and '"insufficient_quota"' in text
    assert re.search(r'^ +tenant:acme/app:chatbot +20,000 +\d', text, re.M)


def test_mock(demo, capsys):
    assert demo.main() == 0
    is_right(capsys.readouterr().out)


def test_openai(demo, openai, capsys):
    openai.default = lambda rq: (
        gateway.chat_auto(rq) if 'stream' in rq.json
        else chat(prompt=14, completion=64,
                  model='gpt-4o-mini-2024-07-18')(rq))
    assert demo.main() == 0
    text = capsys.readouterr().out
    assert 'in front of 127.0.0.1:%d (the real one)' % openai.port in text
    is_right(text)

    for rq in openai.requests:
        assert rq.header('authorization') == 'Bearer sk-of-the-test'
        assert rq.header('host') == HOST
        assert rq.path == '/v1/chat/completions'
    assert set(openai.names) == {HOST}


def test_openai_refuses(demo, openai, capsys):
    """Its own 429, as of its limit of requests per minute, is no denial."""

    openai.script(*4 * [gateway.chat_auto])
    openai.default = error(429)
    assert demo.main() == 1
    found = capsys.readouterr()
    assert rows(found.out)[3:] == [
        ('globex/search', 'chat, streaming', '200', 'ALLOW'),
        ('acme/chatbot', 'chat', '429', 'ALLOW')]
    assert 'The demo failed: a request failed' in found.err
