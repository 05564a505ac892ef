/** What an HTTP client is told of an error: the platform's own errors as they are, those of the HTTP layer translated. */
import { IronflowError, toHttpError } from '@ironflow/errors';
import type { ErrorBody } from '@ironflow/errors';

export interface HttpErrorAnswer {
  status: number;
  retryAfterSeconds?: number;
  body: ErrorBody;
}

export function describeHttpError(error: unknown, bodyLimitBytes: number): HttpErrorAnswer {
  if (error instanceof IronflowError) return toHttpError(error);
  const code = codeOf(error);
  if (code === 'FST_ERR_CTP_BODY_TOO_LARGE') return bodyTooLarge(bodyLimitBytes);
  const known = code === undefined ? undefined : layerErrors[code];
  if (known !== undefined) return answer(...known);
  const status = clientStatusOf(error);
  // The words of an unknown error may repeat what was sent.
  return status === undefined
    ? toHttpError(error)
    : answer(status, 'invalid_request', 'the request was refused');
}

export const routeNotFound: HttpErrorAnswer = answer(404, 'route_not_found', 'there is no such route');

/** By the codes of fastify and of Node's HTTP parser. */
const layerErrors: Record<string, [status: number, code: string, message: string]> = {
  FST_ERR_CTP_INVALID_JSON_BODY: [400, 'malformed_json', 'the body is not valid JSON'],
  FST_ERR_CTP_EMPTY_JSON_BODY: [400, 'malformed_json', 'the body is empty'],
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: [
    400,
    'content_length_mismatch',
    'the body does not have the length that was announced',
  ],
  FST_ERR_CTP_INVALID_MEDIA_TYPE: [
    415,
    'unsupported_media_type',
    'the body has to be sent as application/json',
  ],
  FST_ERR_BAD_URL: [400, 'malformed_url', 'the URL is not encoded correctly'],
  FST_ERR_MAX_PARAM_LENGTH: [414, 'url_too_long', 'a part of the URL is too long'],
  HPE_HEADER_OVERFLOW: [431, 'headers_too_large', 'the headers are too large'],
  ERR_HTTP_REQUEST_TIMEOUT: [408, 'request_timeout', 'the request did not arrive in time'],
};

/** An answer for a connection whose request could not even be read. */
export function formatRawAnswer(error: unknown): string {
  const code = codeOf(error);
  const known = code === undefined ? undefined : layerErrors[code];
  const { status, body } = answer(...(known ?? [400, 'malformed_request', 'this is not valid HTTP']));
  const text = JSON.stringify(body);
  return [
    `HTTP/1.1 ${status} ${status === 408 ? 'Request Timeout' : 'Bad Request'}`,
    'Content-Type: application/json; charset=utf-8',
    `Content-Length: ${Buffer.byteLength(text)}`,
    'Connection: close',
    '',
    text,
  ].join('\r\n');
}

function bodyTooLarge(limitBytes: number): HttpErrorAnswer {
  return answer(413, 'body_too_large', `the body is larger than the limit of ${limitBytes} bytes`);
}

function answer(status: number, code: string, message: string): HttpErrorAnswer {
  return { status, body: { error: { code, message } } };
}

function codeOf(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | null | undefined)?.code;
  return typeof code === 'string' ? code : undefined;
}

/** Fastify marks what is the client's fault with a status below 500. */
function clientStatusOf(error: unknown): number | undefined {
  const status = (error as { statusCode?: unknown } | null | undefined)?.statusCode;
  return typeof status === 'number' && status >= 400 && status < 500 ? status : undefined;
}
