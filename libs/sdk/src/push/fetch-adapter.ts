/** The endpoint for servers that speak fetch's Request and Response. */
import type { EndpointRequest, Reply } from './reply.js';
import { collectBytes, errorReply, UnreadableBodyError } from './reply.js';

export async function answerFetch(
  request: Request,
  answer: (request: EndpointRequest) => Promise<Reply>,
): Promise<Response> {
  const reply = await answer({
    method: request.method,
    url: withoutQuery(request.url),
    header: (name) => request.headers.get(name) ?? undefined,
    body: () => readBody(request),
    onGone: (listener) => request.signal.addEventListener('abort', listener, { once: true }),
  }).catch((thrown: unknown) => {
    if (thrown instanceof UnreadableBodyError)
      return errorReply(thrown.status, 'body_unreadable', thrown.message);
    throw thrown;
  });
  const headers = { 'content-type': 'application/json', ...reply.headers };
  return new Response(reply.body, { status: reply.status, headers });
}

async function readBody(request: Request): Promise<Uint8Array> {
  if (request.bodyUsed) throw new UnreadableBodyError(500, 'the body was read before it got to serve()');
  const length = request.headers.get('content-length') ?? undefined;
  return request.body === null ? new Uint8Array() : collectBytes(chunksOf(request.body), length);
}

/** Not every runtime's streams can be iterated. */
async function* chunksOf(body: NonNullable<Request['body']>): AsyncGenerator<Uint8Array> {
  const reader = body.getReader() as ReadableStreamDefaultReader<Uint8Array>;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    // Of what is left after an early end nothing is wanted.
    await reader.cancel().catch(() => {});
  }
}

function withoutQuery(url: string): string {
  return url.split('?')[0]!;
}
