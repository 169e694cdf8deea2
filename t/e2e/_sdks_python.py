# Copyright (C) nginx-cycles authors

"""The official SDKs for Python behind one function, call(), for
test_sdks_python.py; those for Node are in sdks.cjs."""

import collections
import json
import threading


LIMIT = 100

Call = collections.namedtuple('Call', 'sdk base key stream prompt model')
Error = collections.namedtuple('Error', 'name status code message')

_aws_lock = threading.Lock()


def messages(call):
    return [{'role': 'user', 'content': call.prompt}]


def openai(call):
    from openai import OpenAI

    client = OpenAI(api_key=call.key, base_url=call.base + '/v1')
    reply = client.chat.completions.create(
        model=call.model, messages=messages(call), stream=call.stream,
        max_completion_tokens=LIMIT)

    if call.stream:
        return ''.join(c.choices[0].delta.content or '' for c in reply)
    return reply.choices[0].message.content


def responses(call):
    from openai import OpenAI

    client = OpenAI(api_key=call.key, base_url=call.base + '/v1')
    reply = client.responses.create(
        model=call.model, input=call.prompt, stream=call.stream,
        max_output_tokens=LIMIT)

    if call.stream:
        return ''.join(e.delta for e in reply
                       if e.type == 'response.output_text.delta')
    return reply.output_text


def anthropic(call):
    from anthropic import Anthropic

    client = Anthropic(api_key=call.key, base_url=call.base)
    reply = client.messages.create(
        model=call.model, messages=messages(call), stream=call.stream,
        max_tokens=LIMIT)

    if call.stream:
        return ''.join(e.delta.text for e in reply
                       if e.type == 'content_block_delta')
    return reply.content[0].text


def google(call):
    from google import genai

    with genai.Client(api_key=call.key, http_options={
            'base_url': call.base, 'api_version': 'v1beta'}) as client:
        ask = (client.models.generate_content_stream if call.stream
               else client.models.generate_content)
        reply = ask(model=call.model, contents=call.prompt,
                    config={'max_output_tokens': LIMIT})

        if call.stream:
            return ''.join(c.text for c in reply)
        return reply.text


def bedrock(call):
    import boto3

    # clients may not be made by two threads at once

    with _aws_lock:
        return boto3.client(
            'bedrock-runtime', endpoint_url=call.base,
            region_name='us-east-1', aws_access_key_id=call.key,
            aws_secret_access_key='secret')


def converse(call):
    client = bedrock(call)
    ask = client.converse_stream if call.stream else client.converse
    reply = ask(modelId=call.model, inferenceConfig={'maxTokens': LIMIT},
                messages=[{'role': 'user',
                           'content': [{'text': call.prompt}]}])

    if call.stream:
        return ''.join(e['contentBlockDelta']['delta']['text']
                       for e in reply['stream'] if 'contentBlockDelta' in e)
    return reply['output']['message']['content'][0]['text']


def invoke(call):
    client = bedrock(call)
    ask = (client.invoke_model_with_response_stream if call.stream
           else client.invoke_model)
    reply = ask(modelId=call.model, body=json.dumps({
        'anthropic_version': 'bedrock-2023-05-31', 'max_tokens': LIMIT,
        'messages': messages(call)}))

    if call.stream:
        events = [json.loads(e['chunk']['bytes']) for e in reply['body']]
        return ''.join(e['delta']['text'] for e in events
                       if e['type'] == 'content_block_delta')
    return json.loads(reply['body'].read())['content'][0]['text']


def mistral(call):
    from mistralai.client import Mistral

    with Mistral(api_key=call.key, server_url=call.base) as client:
        ask = client.chat.stream if call.stream else client.chat.complete
        reply = ask(model=call.model, messages=messages(call),
                    max_tokens=LIMIT)

        if call.stream:
            return ''.join(e.data.choices[0].delta.content for e in reply)
        return reply.choices[0].message.content


def cohere(call):
    import cohere

    client = cohere.ClientV2(call.key, base_url=call.base)
    ask = client.chat_stream if call.stream else client.chat
    reply = ask(model=call.model, messages=messages(call), max_tokens=LIMIT)

    if call.stream:
        return ''.join(e.delta.message.content.text for e in reply
                       if e.type == 'content-delta')
    return reply.message.content[0].text


def ollama(call):
    from ollama import Client

    client = Client(call.base, headers={'Authorization':
                                        'Bearer ' + call.key})
    reply = client.chat(call.model, messages(call), stream=call.stream,
                        options={'num_predict': LIMIT})

    if call.stream:
        return ''.join(c.message.content for c in reply)
    return reply.message.content


def langchain(call, chat):
    if call.stream:
        return ''.join(c.text for c in chat.stream(call.prompt))
    return chat.invoke(call.prompt).text


def langchain_openai(call):
    from langchain_openai import ChatOpenAI

    return langchain(call, ChatOpenAI(
        model=call.model, api_key=call.key, max_tokens=LIMIT,
        base_url=call.base + '/v1'))


def langchain_anthropic(call):
    from langchain_anthropic import ChatAnthropic

    return langchain(call, ChatAnthropic(
        model=call.model, api_key=call.key, max_tokens=LIMIT,
        base_url=call.base))


SDKS = {
    'openai': openai,
    'openai, responses': responses,
    'anthropic': anthropic,
    'google-genai': google,
    'boto3': converse,
    'boto3, invoke': invoke,
    'mistralai': mistral,
    'cohere': cohere,
    'ollama': ollama,
    'langchain-openai': langchain_openai,
    'langchain-anthropic': langchain_anthropic,
}


def call(sdk, base, key, stream, prompt, model):
    """(text, None), or (None, Error)"""

    try:
        return SDKS[sdk](Call(sdk, base, key, stream, prompt, model)), None
    except Exception as exc:
        return None, describe(exc)


def describe(exc):
    """The class of the SDK, and all that it says."""

    status, code = None, ''
    for name in 'status_code', 'code':
        if isinstance(getattr(exc, name, None), int):
            status = getattr(exc, name)
        else:
            code = getattr(exc, name, None) or ''

    response = getattr(exc, 'response', None)
    if isinstance(response, dict):
        status = response.get('ResponseMetadata', {}).get('HTTPStatusCode')
        code = response['Error']['Code']

    return Error(type(exc).__name__, status, code, '%s\n%s' % (
        exc, getattr(exc, 'body', '')))
