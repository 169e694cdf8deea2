# Copyright (C) nginx-cycles authors

"""The report of the benchmark: report.json, report.md, and plots."""

import json
import os
import statistics


LABELS = {
    'plain': 'plain `proxy_pass`', 'ledger': 'embedded ledger',
    'always': 'embedded ledger, `sync=always`',
    'dry_run': 'embedded ledger, dry run',
    'cycles': 'Cycles server (a stand-in that answers at once)',
    'auth_local': '`auth_request`, local',
    'auth_proxied': '`auth_request`, proxied', 'haproxy': 'HAProxy',
    'lua': 'Lua, shared dictionary', 'njs': 'njs, `ngx.fetch`',
    'off': 'this module, `cycles off`',
    'litellm': 'LiteLLM proxy', 'portkey': 'Portkey, which has no budgets',
}

# name of a ratio: comparison, gateway, figure, and what it is compared with

RATIOS = {
    'ledger_json_cpu': ('turns', 'ledger', 'cpu_us'),
    'ledger_json_rps': ('turns', 'ledger', 'rps'),
    'ledger_sse100_cpu': ('sse100', 'ledger', 'cpu_us'),
    'ledger_sse1m_cpu': ('sse1m', 'ledger', 'cpu_us'),
    'ledger_trickle_cpu': ('trickle', 'ledger', 'cpu_us'),
    'always_c256_rps': ('c256', 'always', 'rps'),
    'cycles_json_cpu': ('turns', 'cycles', 'cpu_us'),
    'always_json_cpu': ('json', 'always', 'cpu_us'),
    'dry_run_json_cpu': ('json', 'dry_run', 'cpu_us'),
    'auth_local_json_cpu': ('json', 'auth_local', 'cpu_us'),
    'auth_proxied_json_cpu': ('json', 'auth_proxied', 'cpu_us'),
    'haproxy_json_cpu': ('json', 'haproxy', 'cpu_us'),
    'lua_json_cpu': ('json', 'lua', 'cpu_us'),
    'njs_json_cpu': ('json', 'njs', 'cpu_us'),
    'cycles_sse100_cpu': ('sse100', 'cycles', 'cpu_us'),
    'lua_sse100_cpu': ('sse100', 'lua', 'cpu_us'),
    'ledger_long_cpu': ('long', 'ledger', 'cpu_us'),
    'ledger_denied_cpu': ('denied', 'ledger', 'cpu_us'),
    'ledger_c256_cpu': ('c256', 'ledger', 'cpu_us'),
    'always_c256_cpu': ('c256', 'always', 'cpu_us'),
    'million_budgets_cpu': ('tenants', '500,000 tenants', 'cpu_us',
                            '1 tenant'),
    'million_budgets_p50': ('tenants', '500,000 tenants', 'p50_us',
                            '1 tenant'),
}

DIGITS = {'rps': 0, 'cpu_us': 1, 'p50_us': 0, 'p99_us': 0, 'ttfb_us': 0,
          'rss_mb': 1, 'gateway_busy': 2, 'load_busy': 2, 'wakeups': 2}

TITLES = {
    'json': 'A request of 1 KB and a reply of 1 KB, 32 connections',
    'turns': 'The same in turns of a quarter of a second',
    'sse100': 'A stream of 100 events (21 KB)',
    'sse1m': 'A stream of 5,000 events (1 MB)',
    'trickle': '256 streams of 20 events, one each 50 ms',
    'long': 'A prompt of 100 KB', 'denied': 'Denied for lack of budget',
    'c256': '256 connections', 'half': 'At half of what the ledger can do',
    'workers': 'Workers, 256 connections',
    'tenants': 'Tenants, of two budgets each',
    'slow_peers': 'LiteLLM and Portkey',
}


def spread(values, digits=3):
    return {'median': round(statistics.median(values), digits),
            'min': round(min(values), digits),
            'max': round(max(values), digits)}


def ratio_spreads(results):
    spreads = {}
    for name, (comparison, kind, figure, *base) in RATIOS.items():
        plain = results.get((comparison, *(base or ['plain'])))
        other = results.get((comparison, kind))
        if plain and other:
            pairs = [(b[figure], a[figure]) for a, b in zip(plain, other)
                     if a[figure]]
            if pairs:
                spreads[name] = spread([b / a for b, a in pairs])
    return spreads


def figures(bench, ratios):
    alone = bench.figures.get('ledger_alone')
    if alone:
        ratios['pairs_per_s_core'] = round(
            alone['1 budget']['pairs_per_core_s'])
    if 'api' in bench.figures:
        ratios['pairs_per_s_http'] = round(statistics.median(
            v['pairs_per_s'] for v in next(iter(
                bench.figures['api'].values()))))
    if alone and 'redis' in bench.figures:
        ratios['redis_cpu_factor'] = round(statistics.median(
            v['cpu_us'] for v in bench.figures['redis'])
            / alone['1 budget']['cpu_us'], 1)
    for kind, other in ('ledger', 'litellm'), ('ledger', 'portkey'), \
            ('off', 'portkey'):
        ours = bench.results.get(('slow_peers', kind))
        theirs = bench.results.get(('slow_peers', other))
        if ours and theirs:
            ratios['%s_per_%s_rps_core' % (kind, other)] = round(
                statistics.median(v['cpu_us'] for v in theirs)
                / statistics.median(v['cpu_us'] for v in ours), 1)


def measured(results):
    table = {}
    for (comparison, kind), rounds in results.items():
        table.setdefault(comparison, {})[kind] = {
            name: spread([r[name] for r in rounds], digits)
            for name, digits in DIGITS.items()}
    return table


def cell(value):
    return '%g (%g–%g)' % (value['median'], value['min'], value['max'])


def markdown(data):
    m = data['machine']
    out = ['# Benchmark', '',
           '%s, %d cores, Linux %s, %s, %s; load average %.1f at the end; '
           'took %d s.' % (m['cpu'], m['cores'], m['kernel'], m['nginx'],
                           m['date'], m['load_average'], m['took_s']),
           '%d rounds of %g s, alternating; medians (min–max over the '
           'rounds). The spread is the noise.' % (data['rounds'],
                                                  data['seconds']), '',
           '## Ratios', '',
           'Against plain `proxy_pass` in the same round, if nothing else '
           'is said; a million budgets against those of one tenant.', '',
           '| ratio | median | min–max |', '|---|---|---|']

    for name, value in data['ratios'].items():
        s = data['ratio_spreads'].get(name)
        out.append('| %s | **%g** | %s |' % (
            name, value, '%g–%g' % (s['min'], s['max']) if s else ''))

    for comparison, kinds in data['measured'].items():
        out += ['', '## ' + TITLES.get(comparison, comparison), '',
                '| gateway | requests/s | CPU µs/request | p50 µs | p99 µs |'
                ' first byte µs | RSS MB | gateway busy | load busy |',
                '|---|---|---|---|---|---|---|---|---|']
        for kind, v in kinds.items():
            out.append('| %s | %s |' % (LABELS.get(kind, kind), ' | '.join(
                cell(v[name]) for name in (
                    'rps', 'cpu_us', 'p50_us', 'p99_us', 'ttfb_us', 'rss_mb',
                    'gateway_busy', 'load_busy'))))

    out += figures_markdown(data['figures'])
    out += ['', '## How to read this', '',
            'Gateway busy is the share of its core that it has used: near 1 '
            'it is the limit of requests/s, otherwise something else on this '
            'machine was. Load busy is the share of the load generator\'s '
            'turns that found something to do, while it never sleeps: below '
            '1 it had time left. What a gateway does outside of its runs, as '
            'to write down what was in them, is time of its own in '
            'requests/s, too. Memory is the proportional set size, with '
            'the zone of the ledger in it.']
    if data['notes']:
        out += ['', '## Left out', ''] + ['- ' + n for n in data['notes']]
    return '\n'.join(out) + '\n'


def figures_markdown(f):
    out = []
    if 'ledger_alone' in f:
        out += ['', '## The ledger alone, in process', '',
                '| run | pairs/s | pairs per CPU second | CPU µs/pair | '
                'p50 µs | p99 µs | next start ms |',
                '|---|---|---|---|---|---|---|']
        for name, v in f['ledger_alone'].items():
            out.append('| %s | %d | %d | %.2f | %.1f | %.1f | %.0f |' % (
                name, v['pairs_per_s'], v['pairs_per_core_s'], v['cpu_us'],
                v['p50_us'], v['p99_us'], v['start_ms']))
    pairs = dict(f.get('api', {}))
    if 'redis' in f:
        pairs['the same with EVALSHA in Redis'] = f['redis']
    if pairs:
        out += ['', '## Reserve and commit over the HTTP API', '',
                '| run | pairs/s | server CPU µs/pair |', '|---|---|---|']
        out += ['| %s | %s | %s |' % (name, *(
            cell(spread([v[k] for v in values], 1))
            for k in ('pairs_per_s', 'cpu_us')))
            for name, values in pairs.items()]
    if 'streams' in f:
        s = f['streams']
        out += ['', '## %d streams at the same time' % s['number'], '',
                'Each takes %d bytes of the worker without the module and %d '
                'with it: %d more. An event wakes it %.3f times without, and '
                '%.3f times with it.' % (s['plain'], s['ledger'],
                                         s['ledger'] - s['plain'],
                                         s['wakeups']['plain'],
                                         s['wakeups']['ledger'])]
    return out


def plot(title, unit, rows):
    """Horizontal bars with the spread of each; rows: label, spread."""

    top = max(value['max'] for _, value in rows) or 1
    height = 34 + 26 * len(rows)
    out = ['<svg xmlns="http://www.w3.org/2000/svg" width="760" height="%d" '
           'font-family="sans-serif" font-size="12">' % height,
           '<rect width="760" height="%d" fill="white"/>' % height,
           '<text x="10" y="20" font-size="14">%s</text>' % title]
    for i, (label, value) in enumerate(rows):
        y = 32 + 26 * i
        x = [250 + 400 * value[name] / top for name in
             ('min', 'median', 'max')]
        out += ['<text x="242" y="%d" text-anchor="end">%s</text>' % (
                    y + 14, label.replace('`', '')),
                '<rect x="250" y="%d" width="%.1f" height="18" '
                'fill="#4a7db5"/>' % (y, x[1] - 250),
                '<path d="M%.1f %dH%.1f" stroke="black"/>' % (
                    x[0], y + 9, x[2]),
                '<text x="%.1f" y="%d">%g %s</text>' % (
                    x[2] + 6, y + 14, value['median'], unit)]
    return '\n'.join(out + ['</svg>']) + '\n'


def plots(data):
    files = {}
    for comparison, kinds in data['measured'].items():
        for figure, unit in ('cpu_us', 'µs'), ('rps', '/s'):
            name = '%s-%s.svg' % (comparison.replace(' ', '-'), figure)
            files[name] = plot(
                '%s: %s' % (TITLES.get(comparison, comparison), {
                    'cpu_us': 'CPU per request',
                    'rps': 'requests'}[figure]), unit,
                [(LABELS.get(kind, kind), v[figure])
                 for kind, v in kinds.items()])
    return files


def write(out, bench, machine):
    spreads = ratio_spreads(bench.results)
    ratios = {name: value['median'] for name, value in spreads.items()}
    figures(bench, ratios)

    data = {'ratios': ratios, 'ratio_spreads': spreads, 'machine': machine,
            'rounds': bench.options.rounds, 'seconds': bench.options.seconds,
            'measured': measured(bench.results), 'figures': bench.figures,
            'notes': bench.notes}

    os.makedirs(out, exist_ok=True)
    with open(os.path.join(out, 'report.json'), 'w') as file:
        json.dump(data, file, indent=2)
        file.write('\n')

    text = markdown(data)
    for name, svg in plots(data).items():
        with open(os.path.join(out, name), 'w') as file:
            file.write(svg)
        text += '\n![%s](%s)' % (name, name)
    with open(os.path.join(out, 'report.md'), 'w') as file:
        file.write(text + '\n')
