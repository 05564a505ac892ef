/**
 * `serve`: an app's functions behind one HTTP endpoint that the platform calls (push). POST runs one call, PUT registers
 * the app, GET says who it is. A call must be signed with one of the keys; only `dev: true` takes unsigned ones.
 */
import { functionsById, manifestOf } from '../app.js';
import type { AppOptions } from '../app.js';
import { createClient } from '../client/client.js';
import type { Client } from '../client/client.js';
import { IronflowApiError } from '../client/api-error.js';
import { ConfigurationError } from '../configuration-error.js';
import { readSigningKeys } from '../environment.js';
import type { PlatformOptions } from '../environment.js';
import { logToStderr } from '../logger.js';
import type { Log } from '../logger.js';
import type { RegisterAnswer } from '@ironflow/schema';
import { sdkName } from '../version.js';
import { answerFetch } from './fetch-adapter.js';
import { answerNode } from './node-adapter.js';
import type { NodeRequest, NodeResponse } from './node-adapter.js';
import type { PlatformCalls } from '../replay/platform-calls.js';
import { createSettings } from '../settings.js';
import { createPushCalls } from './push-call.js';
import { errorReply, jsonReply } from './reply.js';
import type { EndpointRequest, Reply } from './reply.js';

export interface ServeOptions extends AppOptions, PlatformOptions {
  /** `whsec_…`, several while one is rotated. Default: IRONFLOW_SIGNING_KEY, comma-separated. */
  signingKey?: string | readonly string[];
  /** The address at which the platform reaches this endpoint; needed to register. */
  url?: string;
  /**
   * Has the platform refuse answers that are not signed. This SDK signs every answer when it has a key, and one with a wrong signature is refused
   * anyway: set it once nothing answers for this app any more that does not sign.
   */
  signedAnswers?: boolean;
  /** Takes unsigned calls, and registers under the address of the request when `url` is absent. Never in production. */
  dev?: boolean;
  /** Where the lines of handlers' loggers go. Default: JSON lines on stderr. */
  log?: Log;
}

export interface ServeHandler {
  /** For servers that speak fetch's Request and Response. */
  (request: Request): Promise<Response>;
  /** For node:http and Express; mount it before any body parser, or keep the bytes in `request.rawBody`. */
  readonly node: (request: NodeRequest, response: NodeResponse) => void;
  /** Registers the app with all its functions; several calls at once share one request. */
  register(): Promise<RegisterAnswer>;
}

/** Throws a ConfigurationError that names the option: unknown ids, the same function twice, no key and not `dev`. */
export function serve(options: ServeOptions): ServeHandler {
  const keys = readSigningKeys(options.signingKey);
  const dev = options.dev === true;
  if (keys.length === 0 && !dev) {
    const message = 'signingKey: give it as an option or in IRONFLOW_SIGNING_KEY, or set dev: true';
    throw new ConfigurationError(message, 'signingKey');
  }
  if (keys.length === 0 && options.signedAnswers === true) {
    throw new ConfigurationError('signedAnswers: takes a signingKey to sign with', 'signedAnswers');
  }
  const definitions = functionsById(options);
  // Checks the app now, not at the first registration; the address does not matter to it.
  manifestOf({ ...options, url: options.url ?? 'http://localhost' });
  // Its key is asked for when the first event is sent: an endpoint that sends none needs none.
  let made: Client | undefined;
  const client = (): Client => (made ??= createClient(options));
  const platform: PlatformCalls = {
    ...createSettings(client),
    emit: async (...sent) => client().emit(...sent),
    invoke: async (...called) => client().invoke(...called),
    topics: { publish: async (...published) => client().topics.publish(...published) },
    approvals: { createLink: async (...asked) => client().approvals.createLink(...asked) },
  };
  const call = createPushCalls({ definitions, keys, dev, platform, log: options.log ?? logToStderr });
  const register = sharedRegistration(options);
  const answer = async (request: EndpointRequest): Promise<Reply> => {
    switch (request.method) {
      case 'POST':
        return call(request);
      case 'PUT':
        return replyOfRegistration(() => register(dev ? request.url : undefined));
      case 'GET':
        return jsonReply(200, { app: options.app, functions: definitions.size, sdk: sdkName });
      default:
        return errorReply(405, 'method_not_allowed', 'this endpoint takes GET, POST and PUT');
    }
  };
  return Object.assign((request: Request) => answerFetch(request, answer), {
    node: (request: NodeRequest, response: NodeResponse) => void answerNode(request, response, answer),
    register: () => register(undefined),
  });
}

/** `askedAt` is only believed in development: whoever can spell a Host header could move the app to an address of theirs. */
function sharedRegistration(options: ServeOptions): (askedAt: string | undefined) => Promise<RegisterAnswer> {
  let underWay: Promise<RegisterAnswer> | undefined;
  const register = async (askedAt: string | undefined) => {
    const url = options.url ?? askedAt;
    if (url === undefined) throw new ConfigurationError('url: needed to register this endpoint', 'url');
    return createClient(options).apps.register(manifestOf({ ...options, url }));
  };
  return (askedAt) => {
    underWay ??= register(askedAt).finally(() => (underWay = undefined));
    return underWay;
  };
}

async function replyOfRegistration(register: () => Promise<RegisterAnswer>): Promise<Reply> {
  try {
    return jsonReply(200, await register());
  } catch (thrown) {
    if (thrown instanceof ConfigurationError) {
      return errorReply(500, 'configuration_invalid', thrown.message, thrown.field);
    }
    if (!(thrown instanceof IronflowApiError)) throw thrown;
    return errorReply(502, thrown.code, `the platform refused: ${thrown.message}`, thrown.field);
  }
}
