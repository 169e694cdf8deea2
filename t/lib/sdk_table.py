# Copyright (C) nginx-cycles authors

"""What each SDK does with a refusal, as docs/denials.md says it too; that
they agree is tested in t/examples/test_docs.py."""

import collections


# How it is called:
#   name      as in sdks.cjs and _sdks_python.py; of an API that it has
#             beside its usual one, with a note of that at the end
#   package   whose version counts
#   provider  as $cycles_provider says
#   prefix    of the path, for what the path does not tell
#   h2        by HTTP/2
#
# What it does, with the requests that it makes for one call:
#   denied    (class of its error, requests) for a terminal denial, 429
#   auto      (class, status) with cycles_deny_status auto, one request
#   held      requests for a transient denial that does not end
#   down      (class, requests) without the authority, 503
#   bad       class for what can't be understood, 400, one request
#   cut       class at the end of a stream that cycles_stream_cutoff has cut
#             off; None: the SDK does not raise it
#   waits     whether it obeys a Retry-After with 503, as it does with 429
#   streams_stop  one request, whatever the above, if it is for a stream

Row = collections.namedtuple('Row', 'name package model provider denied auto '
                             'held down bad cut prefix note h2 waits '
                             'streams_stop')


def row(name, package, model, provider, denied, auto, held, down, bad, cut,
        prefix='', note='', h2=False, waits=True, streams_stop=False):
    return Row(name, package, model, provider, denied, auto, held, down, bad,
               cut, prefix, note, h2, waits, streams_stop)


GPT = 'gpt-4o-mini'
CLAUDE = 'claude-opus-4-8'
GEMINI = 'gemini-2.5-flash'
BEDROCK = 'anthropic.claude-3-5-haiku-20241022-v1:0'
MISTRAL = 'mistral-small-latest'

AWS = '@aws-sdk/client-bedrock-runtime'

PYTHON = [
    row('openai', 'openai', GPT, 'openai',
        ('RateLimitError', 1), ('APIStatusError', 402), 3,
        ('InternalServerError', 3), 'BadRequestError', 'APIError'),
    row('openai, responses', 'openai', GPT, 'openai-responses',
        ('RateLimitError', 1), ('APIStatusError', 402), 3,
        ('InternalServerError', 3), 'BadRequestError', None, note='responses'),
    row('anthropic', 'anthropic', CLAUDE, 'anthropic',
        ('EnforcedSpendLimitReachedError', 1), ('PaymentRequiredError', 402),
        3, ('ServiceUnavailableError', 3), 'BadRequestError', 'APIStatusError'),
    row('google-genai', 'google-genai', GEMINI, 'gemini',
        ('ClientError', 1), ('ClientError', 403), 1, ('ServerError', 1),
        'ClientError', 'ClientError'),
    row('boto3', 'boto3', BEDROCK, 'bedrock-converse',
        ('AccessDeniedException', 1), ('ServiceQuotaExceededException', 400),
        3, ('ServiceUnavailableException', 3), 'ValidationException',
        'EventStreamError'),
    row('boto3, invoke', 'boto3', BEDROCK, 'bedrock-invoke',
        ('ServiceQuotaExceededException', 1),
        ('ServiceQuotaExceededException', 400), 3,
        ('ServiceUnavailableException', 3), 'ValidationException',
        'EventStreamError', note='invoke'),
    row('mistralai', 'mistralai', MISTRAL, 'mistral',
        ('SDKError', 1), ('SDKError', 402), 1, ('SDKError', 1), 'SDKError',
        'ResponseValidationError', prefix='/mistral'),
    row('cohere', 'cohere', 'command-r-plus', 'cohere',
        ('TooManyRequestsError', 3), ('ApiError', 402), 3,
        ('ServiceUnavailableError', 3), 'BadRequestError', None,
        streams_stop=True),
    row('ollama', 'ollama', 'llama3.2', 'ollama',
        ('ResponseError', 1), ('ResponseError', 402), 1, ('ResponseError', 1),
        'ResponseError', 'ResponseError'),
    row('langchain-openai', 'langchain-openai', GPT, 'openai',
        ('OpenAIRateLimitError', 1), ('APIStatusError', 402), 3,
        ('OpenAIAPIError', 3), 'OpenAIInvalidRequestError', 'APIError'),
    row('langchain-anthropic', 'langchain-anthropic', CLAUDE, 'anthropic',
        ('AnthropicRateLimitError', 1), ('PaymentRequiredError', 402), 3,
        ('AnthropicAPIError', 3), 'AnthropicInvalidRequestError',
        'APIStatusError'),
]

NODE = [
    row('openai', 'openai', GPT, 'openai',
        ('RateLimitError', 1), ('APIError', 402), 3,
        ('InternalServerError', 3), 'BadRequestError', 'APIError'),
    row('openai, responses', 'openai', GPT, 'openai-responses',
        ('RateLimitError', 1), ('APIError', 402), 3,
        ('InternalServerError', 3), 'BadRequestError', 'APIError',
        note='responses'),
    row('@anthropic-ai/sdk', '@anthropic-ai/sdk', CLAUDE, 'anthropic',
        ('EnforcedSpendLimitReachedError', 1), ('PaymentRequiredError', 402),
        3, ('ServiceUnavailableError', 3), 'BadRequestError', 'APIError'),
    row('@google/genai', '@google/genai', GEMINI, 'gemini',
        ('ApiError', 1), ('ApiError', 403), 1, ('ApiError', 1), 'ApiError',
        'ApiError'),
    row(AWS, AWS, BEDROCK, 'bedrock-converse',
        ('AccessDeniedException', 3), ('ServiceQuotaExceededException', 400),
        3, ('ServiceUnavailableException', 3), 'ValidationException',
        'ThrottlingException'),
    row(AWS + ', invoke', AWS, BEDROCK, 'bedrock-invoke',
        ('ServiceQuotaExceededException', 3),
        ('ServiceQuotaExceededException', 400), 3,
        ('ServiceUnavailableException', 3), 'ValidationException',
        'ThrottlingException', note='invoke'),
    row(AWS + ', HTTP/2', AWS, BEDROCK, 'bedrock-converse',
        ('AccessDeniedException', 3), ('ServiceQuotaExceededException', 400),
        3, ('ServiceUnavailableException', 3), 'ValidationException',
        'ThrottlingException', note='HTTP/2', h2=True),
    row('@mistralai/mistralai', '@mistralai/mistralai', MISTRAL, 'mistral',
        ('SDKError', 1), ('SDKError', 402), 1, ('SDKError', 1), 'SDKError',
        'ZodError', prefix='/mistral'),
    row('cohere-ai', 'cohere-ai', 'command-r-plus', 'cohere',
        ('TooManyRequestsError', 3), ('CohereError', 402), 3,
        ('ServiceUnavailableError', 3), 'BadRequestError', None),
    row('ollama', 'ollama', 'llama3.2', 'ollama',
        ('ResponseError', 1), ('ResponseError', 402), 1, ('ResponseError', 1),
        'ResponseError', 'Error'),
    row('ai, @ai-sdk/openai', 'ai', GPT, 'openai-responses',
        ('RetryError', 3), ('APICallError', 402), 3, ('RetryError', 3),
        'APICallError', 'StreamProviderError'),
    row('ai, @ai-sdk/anthropic', 'ai', CLAUDE, 'anthropic',
        ('RetryError', 3), ('APICallError', 402), 3, ('RetryError', 3),
        'APICallError', 'StreamProviderError'),
    row('ai, @ai-sdk/google', 'ai', GEMINI, 'gemini',
        ('RetryError', 3), ('APICallError', 403), 3, ('RetryError', 3),
        'APICallError', 'StreamProviderError'),
    row('@langchain/openai', '@langchain/openai', GPT, 'openai',
        ('RateLimitError', 1), ('APIError', 402), 2,
        ('InternalServerError', 2), 'BadRequestError', 'APIError', waits=False),
    row('@langchain/anthropic', '@langchain/anthropic', CLAUDE, 'anthropic',
        ('RateLimitError', 1), ('APIError', 402), 2,
        ('InternalServerError', 2), 'BadRequestError', 'APIError', waits=False),
]
