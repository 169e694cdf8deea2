# Copyright (C) nginx-cycles authors

"""Costs beside LiteLLM's own calculator, with its own table.

5,000 usages at random of 300 models at random, of a seed; where the two
differ, t/pricing/_rules.py says why, and by the reason it has to come out.
"""

import collections
import fractions
import json
import math
import os
import subprocess
import sys

import pytest

sys.path.insert(0, os.path.dirname(__file__))

import gateway                                            # noqa: E402
from gateway import ROOT                                  # noqa: E402

import _rules                                             # noqa: E402
import _usages                                            # noqa: E402


BUILD = os.environ.get('BUILD', os.path.join(ROOT, 'build'))
SEED = int(os.environ.get('PRICE_SEED', '20261125'))

pytestmark = pytest.mark.skipif('asan' in gateway.BINARY,
                                reason='the same numbers once are enough')


# how many differences of each kind there are with the seed that is above

EXPECTED = {
    'ultrafast without a price is priority here, standard there': 124,
    'a batch: cached tokens without a price are free there': 43,
    'a batch: the context does not count there, unless it has a price of '
    'batches': 21,
    'a batch: bands are free there': 20,
    'cached tokens of Fireworks without a price are at half of input there':
        20,
    'the context does not count for this provider there': 19,
    'cache writes at a price of 0 are input here, free there': 11,
    'the service tier is not passed to this provider\'s calculator there': 8,
    'LiteLLM has no answer, or 0 for a batch': 5,
    'a batch: place and speed do not count there': 4,
    'a batch: cache writes for longer cost as others there': 3,
    'a batch: cache writes without a price of batches are input there': 2,
    'a batch: bands do not count there if the row has a price as well': 1,
    'a batch: input of every kind has one price there, unless there is a '
    'price of batches': 1,
    'cache writes for longer, in a tier without a price: the context does '
    'not count there': 1,
}


@pytest.fixture(scope='module')
def litellm():
    """A Python that has LiteLLM: made once, and as big as it is."""
    home = os.path.join(BUILD, 'litellm')
    wanted = os.path.join(ROOT, 'tools', 'requirements-litellm.txt')
    done = os.path.join(home, '.done')
    with open(wanted) as file:
        wanted = file.read()
    if not os.path.exists(done) or open(done).read() != wanted:
        subprocess.run(['tools/python-env.sh', home,
                        'tools/requirements-litellm.txt'], cwd=ROOT,
                       check=True)
        with open(done, 'w') as file:
            file.write(wanted)
    return os.path.join(home, 'bin', 'python')


@pytest.fixture(scope='module')
def table_path(litellm):
    code = 'import sysconfig; print(sysconfig.get_paths()["purelib"])'
    site = subprocess.run([litellm, '-c', code], capture_output=True,
                          text=True, check=True).stdout.strip()
    return os.path.join(site, 'litellm',
                        'model_prices_and_context_window_backup.json')


@pytest.fixture(scope='module')
def table(table_path):
    with open(table_path) as file:
        return json.load(file)


@pytest.fixture(scope='module')
def texts(table_path):
    """The table with its numbers as they are written."""
    with open(table_path) as file:
        return json.load(file, parse_float=str, parse_int=str)


def ours(path, lines):
    """Answers to the lines, the number of models, and what is left out."""
    text = ''.join(json.dumps(line) + '\n' for line in lines)
    run = subprocess.run([os.path.join(BUILD, 'unit', 'price_lines'), path],
                         input=text, capture_output=True, text=True,
                         check=True)
    models, *answers = run.stdout.splitlines()
    assert len(answers) == len(lines)
    return answers, int(models), run.stderr.splitlines()


def theirs(python, lines):
    text = ''.join(json.dumps(line) + '\n' for line in lines)
    run = subprocess.run([python, os.path.join(ROOT, 't', 'pricing',
                                               '_litellm_costs.py')],
                         input=text, capture_output=True, text=True,
                         check=True)
    answers = [json.loads(line) for line in run.stdout.splitlines()]
    assert len(answers) == len(lines)
    return answers


def same(answer, usd):
    """Rounded up from that, as exact as floating point is."""
    if answer == 'null':
        return False
    cost = usd * 1e8
    near = 1e-6 + 1e-9 * cost
    return -near <= int(answer.split()[0]) - cost < 1 + near


def rounded(answer, usd, usage):
    """No further off than prices are that have been rounded to pico-USD."""
    tokens = usage.get('input', 0) + usage.get('output', 0)
    return abs(int(answer.split()[0]) - usd * 1e8) <= 1 + tokens * 0.5e-4


def unanswered(usd, row, usage):
    return usd is None or (usd == 0 and usage.get('tier') == 'batch'
                           and 'tiered_pricing' not in row)


def explain(table, lines, answers, usds, path):
    """For each difference the names of the rules that make it come out."""
    why = {}
    tries = []
    rows = {}

    for number, (line, answer, usd) in enumerate(zip(lines, answers, usds)):
        row = {**table[line['key']], 'provider': line['provider']}
        usage = line['usage']

        if usd is not None and same(answer, usd):
            continue

        why[number] = None

        if unanswered(usd, row, usage):
            why[number] = (_rules.NO_ANSWER,)
        elif rounded(answer, usd, usage):
            why[number] = (_rules.ROUNDED,)
        else:
            for rules, (row, usage) in _rules.combinations(row, usage):
                key = f'{line["key"]}#{len(tries)}'
                rows[key] = {name: value for name, value in row.items()
                             if name != 'provider'}
                tries.append((number, rules, {'key': key, 'usage': usage}))

    with open(path, 'w') as file:
        json.dump(rows or {'none': {'input_cost_per_token': 1e-6}}, file)

    found = ours(path, [line for *_, line in tries])[0]

    for (number, rules, _), answer in zip(tries, found):
        if why[number] is None and same(answer, usds[number]):
            why[number] = tuple(rule.name for rule in rules)

    return why


def test_costs(litellm, table, table_path, tmp_path):
    lines = _usages.make(table, SEED)

    answers = ours(table_path, lines)[0]
    usds = theirs(litellm, lines)

    assert len({line['key'] for line in lines}) == _usages.MODELS
    assert 'null' not in answers

    why = explain(table, lines, answers, usds, str(tmp_path / 'rows.json'))

    wrong = [f'{lines[number]}: {answers[number]}, LiteLLM {usds[number]}'
             for number, rules in why.items() if rules is None]
    assert not wrong, '\n'.join(wrong[:10])

    counts = collections.Counter(name for rules in why.values()
                                 for name in rules)
    for name, count in counts.most_common():
        print(f'{count:5} {name}')
    print(f'{len(lines) - len(why):5} are the same')

    if SEED == 20261125:
        assert dict(counts) == EXPECTED


def test_every_number(texts, table_path):
    """Each number of a price is what exact arithmetic makes of its text."""
    numbers = set()

    def walk(value, name=''):
        if isinstance(value, dict):
            for key, inner in value.items():
                walk(inner, key if 'search_context' not in key else 'cost')
        elif isinstance(value, list):
            for inner in value:
                walk(inner, name)
        elif 'cost' in name and isinstance(value, str):
            try:
                fractions.Fraction(value)
            except ValueError:
                return
            numbers.add(value)

    walk({key: row for key, row in texts.items() if key != 'sample_spec'})

    numbers = sorted(numbers)
    assert len(numbers) > 1000

    answers = ours(table_path, [{'decimal': text} for text in numbers])[0]

    for text, answer in zip(numbers, answers):
        exact = fractions.Fraction(text) * 10 ** 12
        assert int(answer) == math.floor(exact + fractions.Fraction(1, 2)), \
            text


def test_every_model(texts, table_path):
    """Each model has its own row with its own prices."""
    lines, wanted = [], []

    for key, row in texts.items():
        if key == 'sample_spec' or not isinstance(row, dict) \
                or 'input_cost_per_token' not in row \
                or 'input_cost_per_request' in row:
            continue

        pico = [math.floor(fractions.Fraction(row.get(name, '0')) * 10 ** 12
                           + fractions.Fraction(1, 2))
                for name in ('input_cost_per_token', 'output_cost_per_token')]

        if not pico[1] or row.get('mode') in ('image_generation',
                                              'image_edit'):
            pico[1] = 0
            usage = {'input': 7, 'output': 0}
        else:
            usage = {'input': 7, 'output': 3}

        lines.append({'key': key, 'usage': usage})
        wanted.append(-(-(7 * pico[0] + 3 * pico[1]) // 10000))

    answers, models, left_out = ours(table_path, lines)

    assert len(lines) > 3000 and models > 4000
    assert not left_out

    for line, answer, cost in zip(lines, answers, wanted):
        assert answer == str(cost), line
