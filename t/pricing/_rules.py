# Copyright (C) nginx-cycles authors

"""Where LiteLLM's calculator and ours differ, and why.

A rule says what LiteLLM leaves out or reads another way.  It changes the row
and the usage so that our calculator does the same: a difference is explained
when what comes out then is LiteLLM's number.
"""

import itertools


# whose calculators do not pass the service tier on

WITHOUT_TIERS = ('fireworks_ai', 'xai', 'deepseek', 'dashscope', 'qwencloud',
                 'qwen_ai_platform', 'tencent', 'perplexity')

WRITES = ('cache_creation_input_token_cost',
          'cache_creation_input_token_cost_above_1hr',
          'cache_creation_input_token_cost_above_12hr')


def batch(row, usage):
    return usage.get('tier') == 'batch'


def without(row, part):
    return {field: value for field, value in row.items() if part not in field}


class Rule:
    def __init__(self, name, applies, change):
        self.name = name
        self.applies = applies
        self.change = change


def no_ultrafast(row, usage):
    return row, {**usage, 'tier': 'default'}


def no_tier(row, usage):
    return without(without(row, '_priority'), '_flex'), usage


def no_writes(row, usage):
    usage = dict(usage)
    usage['input'] -= usage.pop('cache_write')
    usage.pop('cache_write_1h', None)
    return row, usage


def flat_batch(row, usage):
    return {field: value for field, value in row.items()
            if '_above_' not in field or field in WRITES}, usage


def flat_input_batch(row, usage):
    return {field: value for field, value in row.items()
            if '_above_' not in field or 'cache' in field}, usage


def plain_cached_audio(row, usage):
    return without(row, 'cache_read_input_audio'), usage


def no_factors(row, usage):
    return row, {name: value for name, value in usage.items()
                 if name not in ('geo', 'fast')}


def free_batch(row, usage):
    return {**row, 'tiered_pricing': [
        {'range': [0, 1], 'input_cost_per_token': 0,
         'output_cost_per_token': 0}]}, usage


def free_cached(row, usage):
    return {**row, 'cache_read_input_token_cost': 0}, usage


def plain_writes(row, usage):
    return without(row, 'cache_creation_'), usage


def no_longer_writes(row, usage):
    return row, {name: value for name, value in usage.items()
                 if name != 'cache_write_1h'}


def flat_longer_writes(row, usage):
    return without(without(row, '_above_1hr_above'), '_above_12hr_above'), \
        usage


def plain_output(row, usage):
    return without(without(row, 'reasoning'), 'output_cost_per_audio'), usage


def plain_input(row, usage):
    for part in ('input_cost_per_audio', 'input_cost_per_image_token',
                 'cache_read_input_audio'):
        row = without(row, part)
    return row, usage


def half_cached(row, usage):
    return {**row, 'cache_read_input_token_cost':
            row['input_cost_per_token'] / 2}, usage


def no_context(row, usage):
    return without(row, '_above_'), usage


def no_fee(row, usage):
    return without(row, 'per_request'), usage


def free_output(row, usage):
    return {**row, 'output_cost_per_token': 0}, usage


def free_images(row, usage):
    return {**row, 'output_cost_per_image': 0}, usage


def no_bands(row, usage):
    return {field: value for field, value in row.items()
            if field != 'tiered_pricing'}, usage


RULES = [
    Rule('a fee for each request is not known there',
         lambda row, usage: 'input_cost_per_request' in row,
         no_fee),

    Rule('output without a price costs as input here, nothing there',
         lambda row, usage: 'output_cost_per_token' not in row
         and usage.get('output'),
         free_output),

    Rule('images have the price that is not 0 here, the first there',
         lambda row, usage: 'images' in usage
         and row.get('input_cost_per_image') == 0,
         free_images),

    Rule('ultrafast without a price is priority here, standard there',
         lambda row, usage: usage.get('tier') == 'ultrafast'
         and not any('_ultrafast' in field for field in row)
         and any('_priority' in field for field in row),
         no_ultrafast),

    Rule('the service tier is not passed to this provider\'s calculator there',
         lambda row, usage: usage.get('tier') in ('priority', 'flex',
                                                  'ultrafast')
         and row['provider'] in WITHOUT_TIERS,
         no_tier),

    Rule('the context does not count for this provider there',
         lambda row, usage: row['provider'] == 'perplexity'
         and any('_above_' in field for field in row),
         no_context),

    Rule('cache writes are input for this provider there',
         lambda row, usage: row['provider'] == 'perplexity'
         and usage.get('cache_write'),
         plain_writes),

    Rule('cached tokens of Fireworks without a price are at half of input '
         'there',
         lambda row, usage: row['provider'] == 'fireworks_ai'
         and 'cache_read_input_token_cost' not in row
         and usage.get('cached_input') and not batch(row, usage),
         half_cached),

    Rule('cache writes at a price of 0 are input here, free there',
         lambda row, usage: row.get(WRITES[0]) == 0
         and usage.get('cache_write'),
         no_writes),

    Rule('a batch: the context does not count there, unless it has a price of '
         'batches',
         lambda row, usage: batch(row, usage)
         and any('k_tokens' in field for field in row),
         flat_batch),

    Rule('a batch: the context counts for cached tokens alone there',
         lambda row, usage: batch(row, usage)
         and any('k_tokens' in field for field in row)
         and usage.get('cached_input'),
         flat_input_batch),

    Rule('a batch: cached audio costs as cached text there',
         lambda row, usage: batch(row, usage) and 'cached_audio' in usage,
         plain_cached_audio),

    Rule('a batch: place and speed do not count there',
         lambda row, usage: batch(row, usage)
         and ('geo' in usage or 'fast' in usage),
         no_factors),

    Rule('a batch: bands are free there',
         lambda row, usage: batch(row, usage) and 'tiered_pricing' in row,
         free_batch),

    Rule('a batch: bands do not count there if the row has a price as well',
         lambda row, usage: batch(row, usage) and 'tiered_pricing' in row
         and 'input_cost_per_token' in row,
         no_bands),

    Rule('a batch: cached tokens without a price are free there',
         lambda row, usage: batch(row, usage) and usage.get('cached_input')
         and 'cache_read_input_token_cost' not in row,
         free_cached),

    Rule('a batch: cache writes without a price of batches are input there',
         lambda row, usage: batch(row, usage) and usage.get('cache_write'),
         plain_writes),

    Rule('a batch: cache writes for longer cost as others there',
         lambda row, usage: batch(row, usage)
         and usage.get('cache_write_1h'),
         no_longer_writes),

    Rule('cache writes for longer, in a tier without a price: the context does '
         'not count there',
         lambda row, usage: usage.get('cache_write_1h')
         and usage.get('tier') in ('priority', 'flex', 'ultrafast'),
         flat_longer_writes),

    Rule('a batch: output has one price there',
         lambda row, usage: batch(row, usage)
         and ('reasoning' in usage or 'output_audio' in usage),
         plain_output),

    Rule('a batch: input of every kind has one price there, unless there is a '
         'price of batches',
         lambda row, usage: batch(row, usage)
         and ('input_audio' in usage or 'input_image' in usage
              or 'cached_audio' in usage),
         plain_input),
]

NO_ANSWER = 'LiteLLM has no answer, or 0 for a batch'
ROUNDED = 'a price that is no whole number of pico-USD'


def combinations(row, usage, most=4):
    """Rules that apply together, with the row and usage that they make."""
    rules = [rule for rule in RULES if rule.applies(row, usage)]
    for count in range(1, most + 1):
        for chosen in itertools.combinations(rules, count):
            changed = row, usage
            for rule in chosen:
                changed = rule.change(*changed)
            yield chosen, changed
