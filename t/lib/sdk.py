# Copyright (C) nginx-cycles authors

"""The official openai SDKs behind one interface, for t/e2e.

    with PythonSdk() as sdk:            # or AsyncPythonSdk, NodeSdk
        call = sdk.chat(base, params, headers={...}, max_retries=1)
        call.wait()                     # until it has ended, in any way
        call.result                     # a plain reply, as a dict
        call.chunks                     # of a stream, each as a dict
        call.headers                    # of the reply or of the error
        call.error                      # None, or an Error
        call.aborted                    # by leave_after=n: the client leaves
                                        # a stream after so many chunks

An Error has the name of the SDK's own class, status, code, type, message.
"""

import asyncio
import collections
import threading

from gateway import HarnessError, TIMEOUT
from node import NodeProcess


Error = collections.namedtuple('Error', 'name status code type message')


class Call:
    """One call of an SDK while it runs and after it."""

    def __init__(self):
        self.result = None
        self.chunks = []
        self.headers = {}
        self.error = None
        self.aborted = False
        self.ended = False
        self._changed = threading.Condition()

    def wait(self, timeout=None):
        with self._changed:
            if not self._changed.wait_for(lambda: self.ended,
                                          timeout or TIMEOUT):
                raise HarnessError('the call did not end')
        return self

    # called by the SDK's side

    def chunk(self, chunk):
        self.chunks.append(chunk)

    def end(self, result=None, headers=None, error=None, aborted=False):
        with self._changed:
            self.result = result
            self.headers = {k.lower(): v for k, v in (headers or {}).items()}
            self.error = error
            self.aborted = aborted
            self.ended = True
            self._changed.notify_all()


class NodeSdk(NodeProcess):
    """openai for Node."""

    name = 'node'
    script = 'client.cjs'

    def chat(self, base, params, headers=None, max_retries=None,
             leave_after=None):
        options = {}
        if max_retries is not None:
            options['maxRetries'] = max_retries

        return self.ask(Call(), base=base, params=params,
                        headers=headers or {}, options=options,
                        leave_after=leave_after)

    def heard(self, call, event):
        if event['event'] == 'chunk':
            call.chunk(event['chunk'])

        elif event['event'] == 'done':
            call.end(event.get('result'), event['headers'],
                     aborted=event.get('aborted', False))

        else:
            call.end(headers=event['headers'],
                     error=Error(*[event[name] for name in Error._fields]))

    def died(self, call):
        if not call.ended:
            call.end(error=Error('node died', None, None, None, ''))


def _describe(exc):
    return Error(type(exc).__name__, getattr(exc, 'status_code', None),
                 getattr(exc, 'code', None), getattr(exc, 'type', None),
                 str(exc))


class PythonSdk:
    """openai for Python; each call runs in a thread."""

    name = 'python'

    def __enter__(self):
        import openai

        self.openai = openai
        self.threads = []
        return self

    def __exit__(self, *exc):
        for thread in self.threads:
            thread.join(TIMEOUT)

    def client(self, kind, base, headers, max_retries):
        options = {}
        if max_retries is not None:
            options['max_retries'] = max_retries
        return kind(api_key='sk-of-the-client', base_url=base,
                    default_headers=headers or {}, timeout=TIMEOUT, **options)

    def chat(self, base, params, headers=None, max_retries=None,
             leave_after=None):
        call = Call()
        thread = threading.Thread(
            target=self._run, daemon=True,
            args=(call, base, params, headers, max_retries, leave_after))
        self.threads.append(thread)
        thread.start()
        return call

    def _run(self, call, base, params, headers, max_retries, leave_after):
        with self.client(self.openai.OpenAI, base, headers,
                         max_retries) as client:
            try:
                raw = client.chat.completions.with_raw_response.create(
                    **params)
                headers = dict(raw.headers)

                if not params.get('stream'):
                    call.end(raw.parse().to_dict(), headers)
                    return

                with raw.parse() as stream:
                    for chunk in stream:
                        call.chunk(chunk.to_dict())
                        if len(call.chunks) == leave_after:
                            call.aborted = True
                            break
                call.end(headers=headers, aborted=call.aborted)

            except Exception as exc:
                response = getattr(exc, 'response', None)
                call.end(headers=dict(response.headers)
                         if response is not None else {},
                         error=_describe(exc))


class AsyncPythonSdk(PythonSdk):
    """AsyncOpenAI; a call is a task, and leaving it is to cancel it."""

    name = 'python-async'

    def __enter__(self):
        super().__enter__()
        self.loop = asyncio.new_event_loop()
        thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        thread.start()
        self.thread = thread
        return self

    def __exit__(self, *exc):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(TIMEOUT)
        self.loop.close()

    def chat(self, base, params, headers=None, max_retries=None,
             leave_after=None):
        call = Call()
        asyncio.run_coroutine_threadsafe(
            self._task(call, base, params, headers, max_retries, leave_after),
            self.loop)
        return call

    async def _task(self, call, base, params, headers, max_retries,
                    leave_after):
        kind = self.openai.AsyncOpenAI

        async with self.client(kind, base, headers, max_retries) as client:
            try:
                raw = await client.chat.completions.with_raw_response.create(
                    **params)
                headers = dict(raw.headers)

                if not params.get('stream'):
                    call.end(raw.parse().to_dict(), headers)
                    return

                async with raw.parse() as stream:
                    async for chunk in stream:
                        call.chunk(chunk.to_dict())
                        if len(call.chunks) == leave_after:
                            asyncio.current_task().cancel()
                call.end(headers=headers)

            except asyncio.CancelledError:
                call.end(aborted=True)
                raise
            except Exception as exc:
                response = getattr(exc, 'response', None)
                call.end(headers=dict(response.headers)
                         if response is not None else {},
                         error=_describe(exc))
