# Copyright (C) nginx-cycles authors

"""What the documentation says is what the code does: directives, defaults,
contexts, variables, headers, and every block of configuration."""

import glob
import json
import os
import re

import pytest

import gateway
import messages
import test_commands
from documents import BLOCKS, DOCS, name_of, read
from gateway import Gate, ROOT, chat, nginx_t


REFERENCE = os.path.join(ROOT, 'docs', 'directives.md')


# the code


def source():
    paths = glob.glob(ROOT + '/src/**/*.c', recursive=True)
    return {name_of(path): read(path) for path in sorted(paths)}


SOURCE = source()
MODULE = SOURCE['src/gateway/ngx_http_cycles_module.c']

HEADER = read(ROOT + '/src/gateway/ngx_http_cycles_module.h')

CONTEXTS = {'NGX_HTTP_MAIN_CONF': 'http', 'NGX_HTTP_SRV_CONF': 'server',
            'NGX_HTTP_LOC_CONF': 'location'}

ARGUMENTS = {'NGX_CONF_NOARGS': 0, 'NGX_CONF_FLAG': 1, 'NGX_CONF_TAKE1': 1,
             'NGX_CONF_TAKE2': 2, 'NGX_CONF_1MORE': 1, 'NGX_CONF_2MORE': 2,
             'NGX_CONF_TAKE12': 1, 'NGX_CONF_TAKE1234': 1, 'NGX_CONF_TAKE23': 2}


class Command:
    """An entry of a table of commands."""

    def __init__(self, text, macros):
        parts = [part.strip() for part in text.split(',')]
        flags = parts[1]
        for name, value in macros.items():
            flags = flags.replace(name, value)
        flags = flags.split('|')

        self.name = re.search(r'"(\w+)"', parts[0]).group(1)
        self.contexts = [CONTEXTS[f] for f in CONTEXTS if f in flags]
        self.least = [ARGUMENTS[f] for f in flags if f in ARGUMENTS][0]
        self.setter = parts[2]
        field = re.search(r'offsetof\(\s*\w+,\s*(\w+)\s*\)', text)
        self.field = field and field.group(1)
        post = re.search(r'&(\w+)\s*\}', text + '}')
        self.post = post and post.group(1)


def commands():
    found = {}
    for text in SOURCE.values():
        macros = {name: value.replace('\\', '').strip() for name, value in
                  re.findall(r'#define (NGX_HTTP_CYCLES\w*CONF)\s*\\?\s*'
                             r'((?:NGX_\w+\|?)+)', text)}
        for table in re.findall(r'ngx_command_t\s+\w+\[\] = \{(.*?)\n\};',
                                text, re.S):
            for entry in re.findall(r'\{ (ngx_string.*?) \}', table, re.S):
                command = Command(entry, macros)
                found[command.name] = command
    return found


COMMANDS = commands()


def enums():
    """{table: {C constant: name}}"""

    found = {}
    for name, body in re.findall(
            r'ngx_conf_enum_t\s+(\w+)\[\] = \{(.*?)\n\};', MODULE, re.S):
        found[name] = {value: text for text, value in re.findall(
            r'\{ ngx_string\("(\w+)"\), (\w+) \}', body)}
    return found


ENUMS = enums()


def merged():
    """{member of the configuration: its default, as C}"""

    found = dict(re.findall(
        r'ngx_conf_merge_(?:\w+_)?value\(conf->(\w+),\s*prev->\w+,'
        r'\s*([^)]+?)\s*\);', MODULE))
    for name, value in re.findall(
            r'conf->(\w+) = prev->\w+\s*\?\s*prev->\w+\s*:\s*(\w+);', MODULE):
        found[name] = value
    return found


MERGED = merged()

# the members that setters of our own fill in, and what their values are
# called in a configuration

FIELDS = {'cycles_estimate': 'estimate', 'cycles_actual': 'actual',
          'cycles_provider': 'provider',
          'cycles_unknown_price': 'unknown_price',
          'cycles_max_output_tokens': 'max_output_tokens',
          'cycles_estimate_margin': 'estimate_margin',
          'cycles_deny_status': 'deny_status'}

NAMES = {('estimate', 'NULL'): 'auto', ('max_estimate', 'NULL'): 'off',
         ('actual', 'NGX_HTTP_CYCLES_ACTUAL_AUTO'): 'auto',
         ('provider', 'LLM_PROVIDER_AUTO'): 'auto',
         ('unknown_price', 'NGX_HTTP_CYCLES_PRICE_DENY'): 'deny',
         ('deny_format', 'NGX_HTTP_CYCLES_DENY_FORMAT_AUTO'): 'auto',
         ('deny_status', 'NGX_HTTP_TOO_MANY_REQUESTS'): '429'}


def milliseconds(text):
    number, unit = re.fullmatch(r'(\d+)(ms|s|m|h)', text).groups()
    return int(number) * {'ms': 1, 's': 1000, 'm': 60000, 'h': 3600000}[unit]


def default_of(command):
    """The value that the code takes, as text; None: there is none."""

    if command.name == 'cycles_retry':
        return tuple(int(MERGED[name]) for name in (
            'retry_attempts', 'retry_initial', 'retry_multiplier',
            'retry_max'))

    if command.name == 'cycles_breaker':
        return tuple(int(n) for n in re.findall(
            r'breaker->\w+ = (\d\d*);',
            SOURCE['src/gateway/ngx_http_cycles_breaker_conf.c'])
            if n != '0')

    if command.name == 'cycles_zone':
        return {'(1024 * 1024)': '1m'}[re.search(
            r'#define NGX_HTTP_CYCLES_ZONE_SIZE +(.*)',
            SOURCE['src/status/ngx_http_cycles_zone_module.c']).group(1)]

    if command.name == 'cycles_drain':
        return (int(MERGED['drain_timeout']), MERGED['drain_size'],
                MERGED['drain_number'])

    field = FIELDS.get(command.name, command.field)
    value = MERGED.get(field)

    if (field, value) in NAMES:
        return NAMES[field, value]

    if value in (None, 'NULL', '""'):
        return None

    if command.post in ENUMS:
        return ENUMS[command.post][value]

    if command.setter == 'ngx_conf_set_flag_slot':
        return 'on' if value == '1' else 'off'

    if field == 'estimate_margin':
        return '%g' % (int(value) / 1000)

    if value == 'NGX_CONF_UNSET_MSEC':

        # decided when a request comes

        value = re.search(r'#define NGX_HTTP_CYCLES_%s +(\d+)'
                          % field.upper(), HEADER).group(1)

    assert re.fullmatch(r'\d+', value), (command.name, value)
    return int(value) if command.setter.endswith('_msec') else value


def documented_default(command, text):
    if text == '—':
        return None

    value = re.fullmatch(r'`%s (.*);`' % command.name, text).group(1)

    if command.name == 'cycles_retry':
        values = dict(part.split('=') for part in value.split())
        return (int(values['attempts']), milliseconds(values['initial']),
                int(float(values['multiplier']) * 1000),
                milliseconds(values['max']))

    if command.name == 'cycles_breaker':
        values = dict(part.split('=') for part in value.split())
        return (int(values['failures']), milliseconds(values['slow']),
                milliseconds(values['open']))

    if command.name == 'cycles_drain':
        values = dict(part.split('=') for part in value.split())
        return (milliseconds(values['timeout']),
                values['size'].replace('m', ' * 1024 * 1024'),
                values['number'])

    if command.setter.endswith('_msec'):
        return milliseconds(value)

    return value


# the reference


SECTIONS = {
    name: {'syntax': syntax, 'default': default,
           'contexts': re.findall(r'`(\w+)`', contexts), 'text': text}
    for name, syntax, default, contexts, text in re.findall(
        r'^### (\w+)\n\n\*\*Syntax:\*\* `(.*)`\\\n\*\*Default:\*\* (.*)\\\n'
        r'\*\*Context:\*\* (.*)\n\n((?s:.*?))(?=^### |^## )',
        read(REFERENCE), re.M)}


def section_of(title):
    return re.search(r'^## %s\n(.*?)(?=^## |\Z)' % title, read(REFERENCE),
                     re.M | re.S).group(1)


def words(syntax):
    """The parameters of a syntax: (text, whether it can be left out)."""

    syntax = re.sub(r'\s*\|\s*', '|', syntax.rstrip(';'))
    return [(word, word.startswith('[') or word == '...')
            for word in re.findall(r'\[[^]]*\]|\S+', syntax)[1:]]


def test_directives_are_all_documented():
    assert sorted(SECTIONS) == sorted(COMMANDS)
    assert len(COMMANDS) > 30
    assert list(SECTIONS) == sorted(SECTIONS)


@pytest.mark.parametrize('name', sorted(COMMANDS))
def test_directive(name):
    command = COMMANDS[name]
    section = SECTIONS[name]

    assert section['syntax'].split()[0].rstrip(';') == name
    assert section['syntax'].endswith(';')
    assert section['contexts'] == command.contexts
    assert documented_default(command, section['default']) == \
        default_of(command)

    required = [word for word, optional in words(section['syntax'])
                if not optional]
    assert (len(required) or bool(command.least)) == command.least

    if command.post in ENUMS:
        assert sorted(required[0].split('|')) == sorted(
            ENUMS[command.post].values())

    if command.setter == 'ngx_conf_set_flag_slot':
        assert required == ['on|off']


def test_variables_are_all_documented():
    known = re.findall(r'NGX_HTTP_CYCLES_VAR\("(\w+)",',
                       SOURCE['src/gateway/ngx_http_cycles_variables.c'])
    documented = re.findall(r'^- `\$cycles_(\w+)` –',
                            section_of('Embedded variables'), re.M)
    assert sorted(documented) == sorted(known)
    assert sorted('cycles_' + name for name in known) == sorted(
        gateway.LOG_VARIABLES)


def test_headers_are_all_documented():
    known = set()
    for name, text in SOURCE.items():
        if (name.startswith('src/gateway/')
                and not name.endswith('_trust.c')):     # those of requests
            known.update(re.findall(r'"(X-Cycles-[\w-]+)"', text))

    documented = re.findall(r'^- `(X-Cycles-[\w-]+)` –',
                            section_of('Response headers'), re.M)
    assert sorted(documented) == sorted(known)


def test_values_of_variables_are_documented():
    text = SOURCE['src/gateway/ngx_http_cycles_variables.c']
    section = section_of('Embedded variables')

    for table in 'verdicts', 'settlements', 'usage_sources':
        body = re.search(r'ngx_http_cycles_%s\[\] = \{(.*?)\};' % table, text,
                         re.S).group(1)
        values = re.findall(r'ngx_string\("(\w+)"\)', body)
        assert values
        for value in values:
            assert '`%s`' % value in section, value


TROUBLES = read(ROOT + '/docs/troubleshooting.md')

MESSAGES = messages.messages()


def test_lines_of_the_log_are_found():
    assert len(MESSAGES) > 50
    assert 'cycles: denying request, reason "…", trace id "…"' in MESSAGES
    assert 'refused' in MESSAGES


@pytest.mark.parametrize('text', sorted(MESSAGES))
def test_line_of_the_log_is_explained(text):
    """Each of the level "warn" or above; "cycles: " may differ."""

    def name(line):
        return re.sub('^cycles:? ', '', line).strip()

    known = {name(line) for line in re.findall(
        r'^ *- `(.*?)`', TROUBLES, re.M)}
    assert name(text) in known, MESSAGES[text]


def test_no_other_line_of_the_log_is_explained():
    for line in re.findall(r'^ *- `(.*?)`', TROUBLES.partition(
            '## Lines of the error log')[2], re.M):
        assert line.strip(' :') in MESSAGES, line


def reasons():
    """Each reason that a denial can have."""

    codes = re.search(r'cycles_codes\[\] = \{(.*?)\};',
                      SOURCE['src/cycles.c'], re.S).group(1)
    found = set(re.findall(r'"(\w+)"', codes)) - {'OK'}

    for name, text in SOURCE.items():
        if name.startswith('src/gateway/'):
            found.update(re.findall(
                r'ngx_str_set\(&ctx->reason, "(\w+)"\)', text))
            found.update(re.findall(
                r'cap_refuse\(r, ctx, "(\w+)"', text))
    return found


def test_reasons_of_denials_are_explained():
    known = reasons()
    assert {'MAX_ESTIMATE_EXCEEDED', 'COOLDOWN', 'BUDGET_FROZEN',
            'AUTHORITY_UNAVAILABLE'} < known

    table = re.findall(r'^\| (`[A-Z].*?) \|', TROUBLES, re.M)
    explained = re.findall(r'`([A-Z_]+)`', ' '.join(table))
    assert sorted(explained) == sorted(known)


LEDGER = 'src/ledger/ngx_http_cycles_ledger_module.c'
DURABLE = 'src/ledger/ngx_http_cycles_ledger_authority.c'
CALL = 'src/client/ngx_http_cycles_call.c'


@pytest.mark.parametrize('document, words_, file, code', [
    ('directives', 'at least 1m, by default 32m', LEDGER,
     'NGX_HTTP_CYCLES_LEDGER_ZONE      (32 * 1024 * 1024)'),
    ('directives', 'by default `interval`', LEDGER,
     'l->sync_mode = NGX_HTTP_CYCLES_LEDGER_INTERVAL;'),
    ('status', 'At most 1000 budgets', 'src/status/ngx_http_cycles_status.c',
     'NGX_HTTP_CYCLES_STATUS_LIMIT  1000'),
    ('status', 'a reservation now, 500 at most',
     'src/status/ngx_http_cycles_status_json.c',
     'NGX_HTTP_CYCLES_SHOWN_STREAMS  500'),
    ('status', 'of each worker, 100 at most',
     'src/status/ngx_http_cycles_status_json.c',
     'NGX_HTTP_CYCLES_SHOWN_DENIALS  100'),
    ('status', 'one for each 4096 bytes',
     'src/status/ngx_http_cycles_counters.c',
     'max = ngx_http_cycles_room(zone, 4096, 16384);'),
    ('status', '`cycles_requests_total` for each 1024 bytes',
     'src/status/ngx_http_cycles_counters.c',
     'ngx_http_cycles_room(zone, 1024, NGX_HTTP_CYCLES_MAX_REQUESTS);'),
    ('operations', 'synced 50 ms', DURABLE,
     'NGX_HTTP_CYCLES_LEDGER_SYNC       50'),
    ('operations', 'once a minute', DURABLE,
     'NGX_HTTP_CYCLES_LEDGER_COMPLAIN   60'),
    ('protocol', 'an eighth of `worker_connections`, and not more than 512',
     CALL, 'NGX_HTTP_CYCLES_MAX_CALLS     512'),
    ('protocol', 'an eighth of `worker_connections`, and not more than 512',
     CALL, 'ngx_cycle->connection_n / 8'),
    ('protocol', 'each up to a tenth shorter',
     'src/client/ngx_http_cycles_settlement.c', 'NGX_HTTP_CYCLES_JITTER  10')])
def test_numbers(document, words_, file, code):
    """Numbers in the prose, beside the line that makes them true."""

    text = read('%s/docs/%s.md' % (ROOT, document))
    assert words_ in ' '.join(text.split())
    assert code in SOURCE[file]


@pytest.mark.parametrize('path', DOCS + sorted(
    glob.glob(ROOT + '/conf-examples/**/*.*', recursive=True)), ids=name_of)
def test_nothing_else_is_promised(path):
    """Whatever looks like a directive, a variable or a metric is one."""

    known = set(COMMANDS) | set(gateway.LOG_VARIABLES)

    for name, text in SOURCE.items():
        if name.startswith('src/status/'):
            for metric in re.findall(r'"(cycles_[a-z_]+)"', text):
                known |= {metric, metric + '_bucket', metric + '_sum',
                          metric + '_count'}

    for word in re.findall(r'(?<![\w/])\$?(cycles_[a-z_]+)(?![\w.])',
                           read(path)):
        assert word in known, word


# links and blocks


def anchors(path):
    """As GitHub makes them of headings."""

    found = set()
    for title in re.findall(r'^#+ (.*)$', read(path), re.M):
        title = re.sub(r'[^\w\- ]', '', title.lower())
        found.add(title.replace(' ', '-'))
    return found


@pytest.mark.parametrize('path', DOCS, ids=name_of)
def test_links(path):
    text = re.sub(r'```.*?```', '', read(path), flags=re.S)

    for link in re.findall(r'\]\(([^)\s]+)\)', text):
        if re.match(r'[a-z]+:', link):
            continue
        target, _, anchor = link.partition('#')
        target = os.path.normpath(os.path.join(os.path.dirname(path),
                                               target)) if target else path
        assert os.path.exists(target), link
        if anchor:
            assert anchor in anchors(target), link


# what tests a block: here, or in test_commands.py

TESTED = {'nginx': {'http', 'server', 'location', 'example'},
          'json': {'budgets', 'denial terminal', 'denial transient'},
          'http': {'denial reply'},
          'sh': test_commands.KINDS}


def test_blocks_are_tested_or_say_why_not():
    for where, kind, how, words_, _ in BLOCKS:
        assert how, where + ' has no "test:" or "fragment:" before it'
        assert words_.strip(), where
        if how == 'test':
            assert words_ in TESTED[kind], where


@pytest.mark.parametrize('path', DOCS, ids=name_of)
def test_blocks_have_fences(path):
    """What is indented looks like a block, and no test would see it."""

    text = re.sub(r'^```.*?^```$', '', read(path), flags=re.M | re.S)
    assert not re.findall(r'(?<=\n\n)    \S.*', text)


SCAFFOLD = '''
    cycles_ledger main path=%%DIR%%/ledger budgets=%%DIR%%/budgets.json;
    cycles_price_table %%PRICES%%;
    upstream openai { server 127.0.0.1:9; }
'''

BUDGETS = gateway.budgets(('tenant:acme', 10 ** 9))


def here(text):
    """A block of the documentation with places of this machine."""

    for old, new in (('/var/lib/nginx/cycles', '%%DIR%%/ledger'),
                     ('api.openai.com:443', '127.0.0.1:9'),
                     ('https://api.openai.com', 'http://127.0.0.1:9')):
        text = text.replace(old, new)
    return re.sub(r'\blisten (?:[\d.]+:)?\d+;',
                  lambda _: 'listen 127.0.0.1:%d;' % gateway.free_port(),
                  text)


def configuration(level, text):
    """Arguments of nginx_t() for a block of that level."""

    files = {'budgets.json': BUDGETS, 'cycles.key': 'cyc_live_key\n',
             'prices.json': read(ROOT + '/t/prices.json')}
    text = here(text)

    if level == 'http':
        return {'http': text, 'files': files}

    if level == 'server':
        return {'http': SCAFFOLD, 'server': text, 'files': files}

    assert level == 'location'
    return {'http': SCAFFOLD, 'files': files, 'server': '''
        cycles_authority ledger=main;
        cycles_subject tenant $http_x_tenant;
        location / {
            %s
            %s
            proxy_pass http://openai;
        }''' % ('' if re.search(r'^cycles ', text, re.M) else 'cycles on;',
               text)}


@pytest.mark.parametrize('where, level, text', [
    (where, words_, text) for where, kind, how, words_, text in BLOCKS
    if kind == 'nginx' and how == 'test'], ids=lambda value: str(value)[:40])
def test_configuration(where, level, text):
    accepted, output = nginx_t(**configuration(level, text))
    assert accepted, '%s:\n%s' % (where, output)


@pytest.mark.parametrize('where, text', [
    (where, text) for where, kind, how, words_, text in BLOCKS
    if kind == 'json' and how == 'test' and words_ == 'budgets'],
    ids=lambda value: str(value)[:40])
def test_budgets_files(where, text):
    json.loads(text)
    accepted, output = nginx_t(
        http='cycles_ledger main path=%%DIR%%/ledger '
             'budgets=%%DIR%%/budgets.json;',
        files={'budgets.json': text})
    assert accepted, '%s:\n%s' % (where, output)


def denials(words_):
    found = [(where, text) for where, _, how, w, text in BLOCKS
             if how == 'test' and w == words_]
    assert found
    return found


def test_terminal_denial_is_shown_as_it_is(nginx, provider):
    ng = nginx(**gateway.ledger_gateway(provider, ('tenant:acme', 1)))
    r = ng.chat(tenant='acme')

    for where, text in denials('denial terminal'):
        assert text.strip() == r.text.strip(), where

    # of the reply as a whole, what differs from run to run is compared by
    # its shape

    for where, text in denials('denial reply'):
        head, _, body = text.partition('\n\n')
        lines = head.split('\n')
        shown = dict(line.split(': ', 1) for line in lines[1:])

        assert lines[0] == 'HTTP/1.1 %d Too Many Requests' % r.status, where
        assert sorted(shown) == sorted(
            name for name, _ in r.headers
            if name not in ('Server', 'Date', 'Connection')), where

        for name, value in shown.items():
            if name == 'X-Cycles-Trace-Id':
                assert re.fullmatch('[0-9a-f]{32}', value)
            else:
                assert r.header(name) == value, where

        assert body.strip() == r.text.strip(), where


def test_transient_denial_is_shown_as_it_is(nginx, provider):
    gate = Gate()
    provider.script(chat(gate=gate))
    ng = nginx(**gateway.ledger_gateway(
        provider, ('tenant:acme', 1000),
        location='cycles_estimate 600; cycles_actual estimate;'))

    with ng.connect() as conn:
        conn.send_chat(tenant='acme')
        gate.wait_reached()
        r = ng.chat(tenant='acme')
        gate.open()
        assert conn.read_response().status == 200

    for where, text in denials('denial transient'):
        assert text.strip() == r.text.strip(), where
