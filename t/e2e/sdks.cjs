// Copyright (C) nginx-cycles authors
//
// The official SDKs for Node, driven by a test: a command is a line of JSON
// on the standard input, the result is one on the standard output.
//
//   {"id": 1, "sdk": NAME, "base": URL, "key": KEY, "stream": false,
//    "prompt": TEXT, "model": MODEL}  -> {"id": 1, "text": …} or "error"
//
// "hasty" is for LangChain, which has six more tries with pauses of up to half
// a minute: one has to do.
//
// SDKS is the directory of their node_modules.

'use strict';

const readline = require('node:readline');
const { createRequire } = require('node:module');

const load = createRequire(process.env.SDKS + '/');

const LIMIT = 100;


function messages(prompt) {
    return [{ role: 'user', content: prompt }];
}


async function joined(stream, text) {
    let found = '';

    for await (const part of stream) {
        found += text(part) ?? '';
    }

    return found;
}


async function openai({ base, key, model, prompt, stream }) {
    const OpenAI = load('openai');
    const client = new OpenAI({ apiKey: key, baseURL: base + '/v1' });

    const reply = await client.chat.completions.create({
        model, stream, max_completion_tokens: LIMIT,
        messages: messages(prompt),
    });

    return stream ? joined(reply, (c) => c.choices[0].delta.content)
                  : reply.choices[0].message.content;
}


async function responses({ base, key, model, prompt, stream }) {
    const OpenAI = load('openai');
    const client = new OpenAI({ apiKey: key, baseURL: base + '/v1' });

    const reply = await client.responses.create({
        model, stream, max_output_tokens: LIMIT, input: prompt,
    });

    return stream
           ? joined(reply, (e) => e.type === 'response.output_text.delta'
                                  ? e.delta : '')
           : reply.output_text;
}


async function anthropic({ base, key, model, prompt, stream }) {
    const Anthropic = load('@anthropic-ai/sdk');
    const client = new Anthropic({ apiKey: key, baseURL: base });

    const reply = await client.messages.create({
        model, stream, max_tokens: LIMIT, messages: messages(prompt),
    });

    return stream ? joined(reply, (e) => e.delta?.text)
                  : reply.content[0].text;
}


async function google({ base, key, model, prompt, stream }) {
    const { GoogleGenAI } = load('@google/genai');
    const client = new GoogleGenAI({
        apiKey: key, httpOptions: { baseUrl: base, apiVersion: 'v1beta' },
    });

    const request = {
        model, contents: prompt, config: { maxOutputTokens: LIMIT },
    };

    return stream
           ? joined(await client.models.generateContentStream(request),
                    (c) => c.text)
           : (await client.models.generateContent(request)).text;
}


// their own handler speaks HTTP/2, also without TLS; then a signature has the
// name ":authority" in it, which is gone upstream, so that is with an API key

function bedrock(h2) {
    const { BedrockRuntimeClient } = load('@aws-sdk/client-bedrock-runtime');
    const { NodeHttpHandler } = load('@smithy/node-http-handler');

    return ({ base, key }) => new BedrockRuntimeClient({
        region: 'us-east-1', endpoint: base,
        ...(h2 ? {
            token: { token: key },
            authSchemePreference: ['httpBearerAuth'],
        } : {
            credentials: { accessKeyId: key, secretAccessKey: 'secret' },
            requestHandler: new NodeHttpHandler(),
        }),
    });
}


function converse(client) {
    return async (call) => {
        const aws = load('@aws-sdk/client-bedrock-runtime');
        const request = {
            modelId: call.model, inferenceConfig: { maxTokens: LIMIT },
            messages: [{ role: 'user', content: [{ text: call.prompt }] }],
        };

        const reply = await client(call).send(
            call.stream ? new aws.ConverseStreamCommand(request)
                        : new aws.ConverseCommand(request));

        return call.stream
               ? joined(reply.stream, (e) => e.contentBlockDelta?.delta.text)
               : reply.output.message.content[0].text;
    };
}


function invoke(client) {
    return async (call) => {
        const aws = load('@aws-sdk/client-bedrock-runtime');
        const request = {
            modelId: call.model, contentType: 'application/json',
            body: JSON.stringify({
                anthropic_version: 'bedrock-2023-05-31', max_tokens: LIMIT,
                messages: messages(call.prompt),
            }),
        };

        const reply = await client(call).send(
            call.stream
            ? new aws.InvokeModelWithResponseStreamCommand(request)
            : new aws.InvokeModelCommand(request));

        const parse = (bytes) => JSON.parse(new TextDecoder().decode(bytes));

        return call.stream
               ? joined(reply.body, (e) => parse(e.chunk.bytes).delta?.text)
               : parse(reply.body).content[0].text;
    };
}


async function mistral({ base, key, model, prompt, stream }) {
    const { Mistral } = load('@mistralai/mistralai');
    const client = new Mistral({ apiKey: key, serverURL: base });

    const request = { model, maxTokens: LIMIT, messages: messages(prompt) };

    return stream
           ? joined(await client.chat.stream(request),
                    (e) => e.data.choices[0].delta.content)
           : (await client.chat.complete(request)).choices[0].message.content;
}


async function cohere({ base, key, model, prompt, stream }) {
    const { CohereClientV2 } = load('cohere-ai');
    const client = new CohereClientV2({ token: key, environment: base });

    const request = { model, maxTokens: LIMIT, messages: messages(prompt) };

    return stream
           ? joined(await client.chatStream(request),
                    (e) => e.delta?.message?.content?.text)
           : (await client.chat(request)).message.content[0].text;
}


async function ollama({ base, key, model, prompt, stream }) {
    const { Ollama } = load('ollama');
    const client = new Ollama({
        host: base, headers: { Authorization: 'Bearer ' + key },
    });

    const reply = await client.chat({
        model, stream, messages: messages(prompt),
        options: { num_predict: LIMIT },
    });

    return stream ? joined(reply, (c) => c.message.content)
                  : reply.message.content;
}


function vercel(model) {
    return async (call) => {
        const ai = load('ai');
        const request = {
            model: model(call), prompt: call.prompt, maxOutputTokens: LIMIT,
        };

        if (!call.stream) {
            return (await ai.generateText(request)).text;
        }

        // an error is a part of the stream, and is logged unless asked for

        const reply = ai.streamText({ ...request, onError: () => {} });

        return joined(reply.fullStream, (part) => {
            if (part.type === 'error') {
                throw part.error;
            }

            return part.type === 'text-delta' ? part.text : '';
        });
    };
}


const vercelOpenai = vercel(({ base, key, model }) =>
    load('@ai-sdk/openai').createOpenAI({
        apiKey: key, baseURL: base + '/v1' })(model));

const vercelAnthropic = vercel(({ base, key, model }) =>
    load('@ai-sdk/anthropic').createAnthropic({
        apiKey: key, baseURL: base + '/v1' })(model));

const vercelGoogle = vercel(({ base, key, model }) =>
    load('@ai-sdk/google').createGoogleGenerativeAI({
        apiKey: key, baseURL: base + '/v1beta' })(model));


function langchain(model) {
    return async (call) => {
        const chat = model(call);

        return call.stream
               ? joined(await chat.stream(call.prompt), (c) => c.text)
               : (await chat.invoke(call.prompt)).text;
    };
}


const langchainOpenai = langchain(({ base, key, model, hasty }) =>
    new (load('@langchain/openai').ChatOpenAI)({
        model, apiKey: key, maxTokens: LIMIT,
        configuration: { baseURL: base + '/v1' },
        ...(hasty ? { maxRetries: 1 } : {}) }));

const langchainAnthropic = langchain(({ base, key, model, hasty }) =>
    new (load('@langchain/anthropic').ChatAnthropic)({
        model, apiKey: key, maxTokens: LIMIT, anthropicApiUrl: base,
        ...(hasty ? { maxRetries: 1 } : {}) }));


const SDKS = {
    'openai': openai,
    'openai, responses': responses,
    '@anthropic-ai/sdk': anthropic,
    '@google/genai': google,
    '@aws-sdk/client-bedrock-runtime': converse(bedrock(false)),
    '@aws-sdk/client-bedrock-runtime, invoke': invoke(bedrock(false)),
    '@aws-sdk/client-bedrock-runtime, HTTP/2': converse(bedrock(true)),
    '@mistralai/mistralai': mistral,
    'cohere-ai': cohere,
    'ollama': ollama,
    'ai, @ai-sdk/openai': vercelOpenai,
    'ai, @ai-sdk/anthropic': vercelAnthropic,
    'ai, @ai-sdk/google': vercelGoogle,
    '@langchain/openai': langchainOpenai,
    '@langchain/anthropic': langchainAnthropic,
};


// the class of the SDK, and all that it says

function describe(error) {
    const last = error.lastError ?? error;

    return {
        name: error.constructor.name.replace(/^_/, ''),
        status: last.status ?? last.statusCode ?? last.status_code
                ?? last.$metadata?.httpStatusCode ?? null,
        code: String(last.code ?? last.name),
        message: [last.message, last.body, last.responseBody, last.error]
            .map((x) => typeof x === 'string' ? x : JSON.stringify(x))
            .join('\n'),
    };
}


function say(event) {
    process.stdout.write(JSON.stringify(event) + '\n');
}


readline.createInterface({ input: process.stdin }).on('line', (line) => {
    const call = JSON.parse(line);

    SDKS[call.sdk](call)
        .then((text) => say({ id: call.id, text }),
              (error) => say({ id: call.id, error: describe(error) }));
});
