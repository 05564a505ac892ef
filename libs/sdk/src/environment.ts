/** Where the platform is and who asks: options first, then IRONFLOW_URL and IRONFLOW_API_KEY. */
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
  const url = options.ironflowUrl ?? process.env.IRONFLOW_URL ?? defaultUrl;
  if (!/^https?:\/\//.test(url) || !URL.canParse(url)) {
    throw new ConfigurationError('ironflowUrl: must be an http or https URL', 'ironflowUrl');
  }
  const apiKey = options.apiKey ?? process.env.IRONFLOW_API_KEY;
  if (apiKey === undefined || apiKey === '') {
    throw new ConfigurationError('apiKey: give it as an option or in IRONFLOW_API_KEY', 'apiKey');
  }
  return { url: url.replace(/\/+$/, ''), apiKey };
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
