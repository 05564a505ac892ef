/** Who the CLI speaks to: options, then the environment, then the local platform whose data folder is here. */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { createClient } from '@ironflow/sdk';
import type { Client } from '@ironflow/sdk';

export interface Session {
  client: Client;
  url: string;
  apiKey: string;
  json: boolean;
}

interface GlobalOptions {
  url?: string;
  key?: string;
  json: boolean;
}

const defaultUrl = 'http://127.0.0.1:7400';

export function openSession(command: Command): Session {
  const options = command.optsWithGlobals<GlobalOptions>();
  const local = readLocalPlatform();
  const url = options.url ?? process.env['IRONFLOW_URL'] ?? local?.url ?? defaultUrl;
  const apiKey = options.key ?? process.env['IRONFLOW_API_KEY'] ?? local?.apiKey;
  if (apiKey === undefined) {
    throw new Error(
      'no API key: give --key or set IRONFLOW_API_KEY (`npm start` prints that of the local platform)',
    );
  }
  return { client: createClient({ ironflowUrl: url, apiKey }), url, apiKey, json: options.json };
}

/** What the local platform has written for its user. */
export function readLocalPlatform(): { url?: string; apiKey?: string; signingKey?: string } | undefined {
  try {
    const file = resolve(process.env['IRONFLOW_DATA'] ?? '.ironflow', 'credentials.json');
    return JSON.parse(readFileSync(file, 'utf8')) as { url?: string; apiKey?: string; signingKey?: string };
  } catch {
    return undefined;
  }
}
