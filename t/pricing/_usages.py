# Copyright (C) nginx-cycles authors

"""Usages at random of models at random, of a seed."""

import random


MODELS = 300
USAGES = 5000

FAMILIES = {'cohere_chat': 'cohere_chat', 'bedrock_converse': 'bedrock',
            'fireworks_ai-embedding-models': 'fireworks_ai'}


def provider_of(row):
    """The provider's name as LiteLLM's calculator is asked by it."""
    name = row['litellm_provider']
    if name.startswith('vertex_ai'):
        return 'vertex_ai'
    return FAMILIES.get(name, name)


def kind_of(row):
    """What a row is charged by, or None for what no usage here has."""
    mode = row.get('mode')
    if mode == 'audio_transcription' and (
            'input_cost_per_second' in row or 'output_cost_per_second' in row):
        return 'audio_ms'
    if mode == 'audio_speech' and 'input_cost_per_character' in row:
        return 'characters'
    if mode == 'rerank' and 'input_cost_per_query' in row:
        return 'queries'
    if mode == 'image_generation' and 'output_cost_per_image' in row \
            and 'input_cost_per_token' not in row:
        return 'images'
    if mode in ('chat', 'completion', 'responses', 'embedding', 'realtime') \
            and ('input_cost_per_token' in row or 'tiered_pricing' in row) \
            and not any('per_second' in field and 'per_audio' not in field
                        and 'per_video' not in field for field in row):
        return 'tokens'
    return None


def candidates(table):
    """Rows that both calculators find by their key."""
    return {key: row for key, row in table.items()
            if isinstance(row, dict) and row.get('litellm_provider')
            and key != 'sample_spec' and kind_of(row)
            and f'{provider_of(row)}/{key}' not in table}


def thresholds(row):
    found = [int(field.split('_above_')[-1].split('k_tokens')[0]) * 1000
             for field in row if 'k_tokens' in field
             and field.startswith('input_cost_per_token_above_')]
    found += [int(band['range'][0]) for band in row.get('tiered_pricing', [])
              if 'range' in band]
    return sorted(number for number in found if number)


def tokens(rng, row):
    """Parts that add up: no more is cached, audio or reasoning than there
    is."""
    limits = thresholds(row)
    if limits and rng.random() < 0.5:
        total = rng.choice(limits) + rng.choice((-1, 0, 1, 1000, 50000))
    else:
        total = rng.choice((rng.randint(0, 50), rng.randint(0, 10000),
                            rng.randint(0, 1000000)))

    usage = {'input': total, 'output': rng.choice((0, rng.randint(1, 60000)))}
    left = total

    def take(name, chance, of):
        nonlocal left
        if rng.random() < chance and left > 1:
            usage[name] = rng.randint(1, left)
            left -= usage[name]
        return usage.get(name, 0)

    cached = take('cached_input', 0.4, left)
    written = take('cache_write', 0.25, left)
    if written and rng.random() < 0.5:
        usage['cache_write_1h'] = rng.randint(1, written)
    if 'input_cost_per_audio_token' in row:
        take('input_audio', 0.4, left)
        if cached and rng.random() < 0.3:
            usage['cached_audio'] = rng.randint(1, cached)
            usage['input_audio'] = (usage.get('input_audio', 0)
                                    + usage['cached_audio'])
    if 'input_cost_per_image_token' in row:
        take('input_image', 0.3, left)

    left = usage['output']
    take('reasoning', 0.4, left)
    if 'output_cost_per_audio_token' in row:
        take('output_audio', 0.4, left)
    if 'output_cost_per_image_token' in row:
        take('output_image', 0.4, left)

    draw = rng.random()
    if draw < 0.45:
        usage['tier'] = rng.choice(('flex', 'priority', 'ultrafast', 'batch'))

    if 'provider_specific_entry' in row and rng.random() < 0.5 \
            and row['litellm_provider'] == 'anthropic':
        usage['geo'] = 'us'
        if rng.random() < 0.5:
            usage['fast'] = 1
    if 'regional_processing_uplift_multiplier_eu' in row \
            and row['litellm_provider'] == 'openai' and rng.random() < 0.3:
        usage['geo'] = rng.choice(('us', 'eu'))
    if 'regional_endpoint_uplift_multiplier' in row \
            and provider_of(row) == 'vertex_ai' and rng.random() < 0.3:
        usage['geo'] = 'region'

    if 'search_context_cost_per_query' in row and rng.random() < 0.3 \
            and usage.get('tier') != 'batch':
        usage['web_searches'] = rng.randint(1, 5)

    return usage


def make(table, seed, models=MODELS, usages=USAGES):
    """Lines for both calculators: of all kinds, of as many providers as
    there are."""
    rng = random.Random(seed)
    rows = candidates(table)

    columns = sorted(key for key, row in rows.items()
                     if thresholds(row) or any(
                         field.endswith(('_flex', '_priority', '_batches',
                                         '_ultrafast')) for field in row))
    others = sorted(key for key, row in rows.items()
                    if kind_of(row) == 'tokens' and key not in columns)
    pieces = sorted(key for key, row in rows.items()
                    if kind_of(row) != 'tokens')

    keys = (rng.sample(columns, min(models // 2, len(columns)))
            + rng.sample(pieces, min(models // 10, len(pieces))))
    keys += rng.sample(others, models - len(keys))

    lines = []
    for number in range(usages):
        key = keys[number % models]
        row = rows[key]
        kind = kind_of(row)
        if kind == 'tokens':
            usage = tokens(rng, row)
        else:
            usage = {kind: rng.randint(1, 100000)}
        lines.append({'key': key, 'provider': provider_of(row), 'kind': kind,
                      'usage': usage})
    return lines
