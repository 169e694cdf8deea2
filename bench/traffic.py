# Copyright (C) nginx-cycles authors

"""What the benchmarks send to a gateway, and what the provider answers."""

import json


MODEL = 'gpt-4o-mini'

COMPLETION = json.dumps({
    'id': 'chatcmpl-bench', 'object': 'chat.completion',
    'created': 1700000000, 'model': MODEL,
    'choices': [{'index': 0, 'finish_reason': 'stop', 'logprobs': None,
                 'message': {'role': 'assistant', 'refusal': None,
                             'content': 'All is well. ' * 40}}],
    'usage': {'prompt_tokens': 230, 'completion_tokens': 161,
              'total_tokens': 391,
              'prompt_tokens_details': {'cached_tokens': 0},
              'completion_tokens_details': {'reasoning_tokens': 0}}})


def request(**members):
    """A chat request of about 1 KB."""

    return json.dumps(dict({
        'model': MODEL, 'max_completion_tokens': 256,
        'messages': [
            {'role': 'system', 'content': 'You are a helpful assistant. ' * 4},
            {'role': 'user',
             'content': 'Tell me what you know of rivers. ' * 23},
        ]}, **members))


def stream_request(**members):
    return request(stream=True, stream_options={'include_usage': True},
                   **members)


def long_request(size=100 * 1024):
    text = 'Tell me what you know of rivers. ' * (size // 33)
    return request(messages=[{'role': 'user', 'content': text}])


def events(number):
    """The events of a stream as OpenAI sends them, some 210 bytes each, of
    which the text is five; the last but one has the usage."""

    base = {'id': 'chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG',
            'object': 'chat.completion.chunk', 'created': 1741570283,
            'model': MODEL}
    lines = []
    for i in range(number - 1):
        delta = {'content': ' word'} if i else {
            'role': 'assistant', 'content': ''}
        lines.append(dict(base, choices=[{'index': 0, 'delta': delta}],
                          usage=None, obfuscation='aK3xQ9zP'[i % 7:]))
    lines.append(dict(base, choices=[], usage={
        'prompt_tokens': 230, 'completion_tokens': number,
        'total_tokens': 230 + number}))
    return ['data: %s\n\n' % json.dumps(line, separators=(',', ':'))
            for line in lines] + ['data: [DONE]\n\n']


def stream(number):
    return ''.join(events(number))
