// Copyright (C) nginx-cycles authors
//
// The official openai SDK, driven by a test: a command is a line of JSON on
// the standard input, an event is one on the standard output.
//
//   {"id": 1, "base": URL, "headers": {…}, "options": {…}, "params": {…},
//    "leave_after": 2}         -> "chunk" events, then "done" or "error"
//
// leave_after: controller.abort() after that many chunks.

'use strict';

const readline = require('node:readline');
const OpenAI = require('openai');

const CLASSES = ['RateLimitError', 'BadRequestError', 'AuthenticationError',
                 'PermissionDeniedError', 'InternalServerError',
                 'APIUserAbortError', 'APIConnectionTimeoutError',
                 'APIConnectionError', 'APIError'];


function say(id, event, more) {
    process.stdout.write(JSON.stringify({ id, event, ...more }) + '\n');
}


function describe(error) {
    return {
        name: CLASSES.find((name) => error instanceof OpenAI[name])
              || error.constructor.name,
        status: error.status ?? null,
        code: error.code ?? null,
        type: error.type ?? null,
        message: error.message,
        headers: error.headers ? Object.fromEntries(error.headers) : {},
    };
}


async function chat(command) {
    const controller = new AbortController();
    let chunks = 0;

    const client = new OpenAI({
        apiKey: 'sk-of-the-client',
        baseURL: command.base,
        defaultHeaders: command.headers,
        ...command.options,
    });

    const { data, response } = await client.chat.completions
        .create(command.params, { signal: controller.signal })
        .withResponse();

    const headers = Object.fromEntries(response.headers);

    if (!command.params.stream) {
        say(command.id, 'done', { result: data, headers });
        return;
    }

    for await (const chunk of data) {
        say(command.id, 'chunk', { chunk });

        if (++chunks === command.leave_after) {
            controller.abort();
        }
    }

    // the SDK ends an aborted stream without an error

    say(command.id, 'done', { aborted: controller.signal.aborted, headers });
}


readline.createInterface({ input: process.stdin }).on('line', (line) => {
    const command = JSON.parse(line);

    chat(command)
        .catch((error) => say(command.id, 'error', describe(error)));
});
