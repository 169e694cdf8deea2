# Copyright (C) nginx-cycles authors

"""LiteLLM's own price of usages, in USD; run by the Python that has it.

Reads lines of JSON, {"key", "provider", "kind", "usage"}, and writes a number
for each, or null where LiteLLM has no answer.
"""

import json
import os
import sys

os.environ['LITELLM_LOCAL_MODEL_COST_MAP'] = 'True'
os.environ['LITELLM_LOG'] = 'CRITICAL'

import litellm  # noqa: E402
from litellm.cost_calculator import cost_per_token  # noqa: E402
from litellm.cost_calculator import default_image_cost_calculator  # noqa: E402
from litellm.llms import get_cost_for_web_search_request  # noqa: E402
from litellm.types.utils import CacheCreationTokenDetails  # noqa: E402
from litellm.types.utils import CompletionTokensDetailsWrapper  # noqa: E402
from litellm.types.utils import PromptTokensDetailsWrapper  # noqa: E402
from litellm.types.utils import ServerToolUse, Usage  # noqa: E402


# both sides are asked for the price of the day

for row in litellm.model_cost.values():
    row.pop('off_peak_pricing', None)


def write_details(usage, provider):
    written = usage['cache_write']
    long = usage.get('cache_write_1h', 0)
    if not long:
        return None
    if provider in ('openai', 'azure'):
        return CacheCreationTokenDetails(ephemeral_30m_input_tokens=written
                                         - long,
                                         ephemeral_12h_input_tokens=long)
    return CacheCreationTokenDetails(ephemeral_5m_input_tokens=written - long,
                                     ephemeral_1h_input_tokens=long)


def usage_of(usage, provider):
    prompt = {}
    for theirs, ours in (('cached_tokens', 'cached_input'),
                         ('audio_tokens', 'input_audio'),
                         ('image_tokens', 'input_image'),
                         ('video_tokens', 'input_video'),
                         ('web_search_requests', 'web_searches')):
        if usage.get(ours):
            prompt[theirs] = usage[ours]
    if usage.get('cache_write'):
        prompt['cache_creation_tokens'] = usage['cache_write']
        details = write_details(usage, provider)
        if details:
            prompt['cache_creation_token_details'] = details
    if usage.get('cached_audio'):
        prompt['cached_tokens_details'] = {
            'audio_tokens': usage['cached_audio']}

    completion = {}
    for theirs, ours in (('reasoning_tokens', 'reasoning'),
                         ('audio_tokens', 'output_audio'),
                         ('image_tokens', 'output_image')):
        if usage.get(ours):
            completion[theirs] = usage[ours]

    answer = Usage(
        prompt_tokens=usage['input'], completion_tokens=usage['output'],
        total_tokens=usage['input'] + usage['output'],
        prompt_tokens_details=prompt and PromptTokensDetailsWrapper(**prompt)
        or None,
        completion_tokens_details=completion
        and CompletionTokensDetailsWrapper(**completion) or None,
        server_tool_use=usage.get('web_searches')
        and ServerToolUse(web_search_requests=usage['web_searches']) or None)

    if usage.get('geo') and provider == 'anthropic':
        answer.inference_geo = usage['geo']
    if usage.get('fast'):
        answer.speed = 'fast'
    return answer


def tokens(case):
    usage = usage_of(case['usage'], case['provider'])
    tier = case['usage'].get('tier')
    geo = case['usage'].get('geo')

    common = {'model': case['key'], 'custom_llm_provider': case['provider'],
              'usage_object': usage,
              'data_residency': geo if geo in ('us', 'eu') else None,
              'vertex_location': 'us-east5' if geo == 'region' else None}

    if tier == 'batch':
        parts = cost_per_token(call_type='aretrieve_batch', **common)
    else:
        parts = cost_per_token(service_tier=tier, **common)

    cost = sum(parts)

    if case['usage'].get('web_searches'):
        info = litellm.get_model_info(case['key'], case['provider'])
        fee = get_cost_for_web_search_request(
            custom_llm_provider=case['provider'], usage=usage,
            model_info=info)
        if fee is None:
            fees = info['search_context_cost_per_query']
            fee = (case['usage']['web_searches']
                   * fees['search_context_size_medium'])
        cost += fee
    return cost


def price(case):
    usage = case['usage']
    common = {'model': case['key'], 'custom_llm_provider': case['provider']}

    if case['kind'] == 'tokens':
        return tokens(case)
    if case['kind'] == 'audio_ms':
        return sum(cost_per_token(
            call_type='transcription',
            audio_transcription_file_duration=usage['audio_ms'] / 1000,
            **common))
    if case['kind'] == 'characters':
        return sum(cost_per_token(
            call_type='speech', prompt_characters=usage['characters'],
            **common))
    if case['kind'] == 'queries':
        return sum(cost_per_token(
            call_type='rerank',
            rerank_billed_units={'search_units': usage['queries']},
            **common))
    return default_image_cost_calculator(n=usage['images'], size=None,
                                         **common)


def main():
    out, sys.stdout = sys.stdout, sys.stderr  # it prints hints of its own

    for line in sys.stdin:
        try:
            cost = price(json.loads(line))
        except Exception as error:
            cost = None
            print(f'{line.strip()}: {error!r}', file=sys.stderr)
        print(json.dumps(cost), file=out)


main()
