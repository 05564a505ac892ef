/** Where the platform is and who asks: options first, then the environment's variables. */
import { ConfigurationError } from './configuration-error.js';

export interface PlatformOptions {
  /** Default: IRONFLOW_URL, then http://127.0.0.1:7400. */
  ironflowUrl?: string | undefined;
  /** Default: IRONFLOW_API_KEY. */
  apiKey?: string | undefined;
}

const signingKeyPattern = /^whsec_[A-Za-z0-9+/]{22,}={0,2}$/;
const defaultUrl = 'http://127.0.0.1:7400';

export function readPlatform(options: PlatformOptions): { url: string; apiKey: string } {
  const url = readPlatformUrl(options.ironflowUrl);
  const apiKey = options.apiKey ?? process.env.IRONFLOW_API_KEY;
  if (apiKey === undefined || apiKey === '') {
    throw new ConfigurationError('apiKey: give it as an option or in IRONFLOW_API_KEY', 'apiKey');
  }
  return { url, apiKey };
}

export function readPlatformUrl(option: string | undefined): string {
  return readUrl(option ?? process.env.IRONFLOW_URL ?? defaultUrl, 'ironflowUrl');
}

/** Where workers connect: `option`, then IRONFLOW_WORKER_URL, then where everything else goes. */
export function readWorkerUrl(option: string | undefined, platformUrl: string): string {
  return readUrl(option ?? process.env.IRONFLOW_WORKER_URL ?? platformUrl, 'workerUrl');
}

function readUrl(url: string, field: string): string {
  if (!/^https?:\/\//.test(url) || !URL.canParse(url)) {
    throw new ConfigurationError(`${field}: must be an http or https URL`, field);
  }
  return url.replace(/\/+$/, '');
}

/** Keys that calls of a push endpoint are signed with: several while one is rotated, comma-separated in the variable. */
export function readSigningKeys(option: string | readonly string[] | undefined): string[] {
  const given = option ?? process.env.IRONFLOW_SIGNING_KEY?.split(',') ?? [];
  const keys = (typeof given === 'string' ? [given] : [...given])
    .map((key) => key.trim())
    .filter((key) => key !== '');
  // A key that was cut short would be one that anybody can guess.
  if (!keys.every((key) => signingKeyPattern.test(key))) {
    throw new ConfigurationError(
      'signingKey: must be "whsec_" and at least 16 bytes in base64',
      'signingKey',
    );
  }
  return keys;
}
