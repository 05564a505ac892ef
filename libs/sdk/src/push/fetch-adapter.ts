/** The endpoint for servers that speak fetch's Request and Response. */
import type { EndpointRequest, Reply } from './reply.js';
import { callBytesMax, errorReply, tooLarge, UnreadableBodyError } from './reply.js';

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
  return new Response(reply.body, { status: reply.status, headers: { 'content-type': 'application/json' } });
}

async function readBody(request: Request): Promise<Uint8Array> {
  if (request.bodyUsed) throw new UnreadableBodyError(500, 'the body was read before it got to serve()');
  if (Number(request.headers.get('content-length') ?? 0) > callBytesMax) throw tooLarge();
  const bytes = new Uint8Array(await request.arrayBuffer());
  if (bytes.length > callBytesMax) throw tooLarge();
  return bytes;
}

function withoutQuery(url: string): string {
  return url.split('?')[0]!;
}
