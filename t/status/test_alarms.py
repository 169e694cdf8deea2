# Copyright (C) nginx-cycles authors

"""The rules for Prometheus and the dashboard for Grafana: they are valid, and
whatever they ask for is there."""

import json
import os
import re

import gateway
from _scrape import documented, promtool


CONTRIB = os.path.join(gateway.ROOT, 'contrib')
RULES = os.path.join(CONTRIB, 'prometheus', 'cycles-rules.yml')
DASHBOARD = os.path.join(CONTRIB, 'grafana', 'cycles.json')

# a metric with what is asked of its labels, or a recorded one

METRIC = re.compile(r'\b(cycles[_:][a-z0-9_:]+)(?:\{([^}]*)\})?')


def read(path):
    with open(path) as file:
        return file.read()


def asked_for(text):
    """[(metric, [labels])] of expressions."""

    return [(name, re.findall(r'(\w+)\s*=?[=!~]', labels or ''))
            for name, labels in METRIC.findall(text)]


def exists(name, labels, recorded=()):
    if name in recorded:
        return
    known = documented()
    family = name
    if family not in known:
        family, _, part = name.rpartition('_')
        assert part in ('bucket', 'sum', 'count'), name
        assert known[family][0] == 'histogram', name
    assert set(labels) <= set(known[family][1]) | {'le', 'instance'}, name


def panels():
    return json.loads(read(DASHBOARD))['panels']


def test_rules_are_valid():
    code, output = promtool('check', 'rules', RULES)
    assert code == 0 and 'SUCCESS' in output, output


def test_rules_ask_for_what_there_is():
    text = re.sub(r'^\s*#.*$', '', read(RULES), flags=re.M)
    text = re.sub(r'\\?"cycles_\w+', '', text)         # directives
    recorded = re.findall(r'record: (\S+)', text)
    asked = asked_for(text)
    assert len(asked) > 25
    for name, labels in asked:
        exists(name, labels, recorded)


def test_alarms_go_off():
    code, output = promtool('test', 'rules', os.path.join(
        gateway.ROOT, 't', 'status', 'alarms.yml'))
    assert code == 0 and 'SUCCESS' in output, output


def test_each_alarm_says_what_to_do():
    alarms = re.split(r'^ +- alert: ', read(RULES), flags=re.M)[1:]
    assert len(alarms) > 12
    for alarm in alarms:
        name = alarm.split()[0]
        assert name.startswith('Cycles')
        for word in 'severity:', 'summary:', 'description:':
            assert word in alarm, name


def test_dashboard_asks_for_what_there_is(tmp_path):
    rules = []
    for panel in panels():
        for target in panel.get('targets', ()):
            expr = target['expr']
            for name, labels in asked_for(expr):
                exists(name, labels)
            for old, new in (('$__rate_interval', '5m'),
                             ('$instance', '.*')):
                expr = expr.replace(old, new)
            assert '$' not in expr
            rules.append({'record': 'panel:%d:%s' % (panel['id'],
                                                     target['refId']),
                          'expr': expr})
    assert len(rules) > 30

    # JSON is YAML, and so each is parsed

    path = tmp_path / 'panels.yml'
    path.write_text(json.dumps({'groups': [{'name': 'panels',
                                            'rules': rules}]}))
    code, output = promtool('check', 'rules', str(path))
    assert code == 0, output


def test_everything_is_to_be_seen():
    """Each metric is on the dashboard."""

    text = ' '.join(target['expr'] for panel in panels()
                    for target in panel.get('targets', ()))
    missing = [name for name in documented() if name not in text]
    assert set(missing) <= {
        'cycles_workers', 'cycles_ledger_budgets',
        'cycles_label_overflow_total', 'cycles_price_table_models',
        'cycles_journal_scan_timestamp_seconds'}


def test_dashboard_fits_together():
    places = {}
    ids = set()
    for panel in panels():
        assert panel['id'] not in ids
        ids.add(panel['id'])
        grid = panel['gridPos']
        assert grid['x'] + grid['w'] <= 24
        for x in range(grid['x'], grid['x'] + grid['w']):
            for y in range(grid['y'], grid['y'] + grid['h']):
                assert places.setdefault((x, y), panel['id']) == panel['id']
    assert '"uid": "${datasource}"' in read(DASHBOARD)


def test_the_configuration_of_the_documents(tmp_path):
    text = read(os.path.join(gateway.ROOT, 'docs', 'status.md'))
    block = re.search(r'```yaml\n(scrape_configs.*?)```', text, re.S)[1]
    path = tmp_path / 'prometheus.yml'
    path.write_text(block + '\nrule_files: [ "%s" ]\n' % RULES)
    code, output = promtool('check', 'config', str(path))
    assert code == 0, output
    assert '20 rules found' in output
