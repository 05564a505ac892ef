/** Who the CLI speaks to: options, then the environment, then the local platform whose data folder is here. */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { createClient, createOperatorClient } from '@ironflow/sdk';
import type { Client, OperatorClient } from '@ironflow/sdk';
import type { Terminal } from './terminal.js';

export interface Session {
  client: Client;
  json: boolean;
}

export interface Found {
  value: string;
  /** For people. */
  from: string;
}

export interface Target {
  url: Found;
  apiKey: Found | undefined;
}

const defaultUrl = 'http://127.0.0.1:7400';

export function openSession(command: Command, terminal: Terminal): Session {
  const { url, apiKey } = findTarget(command, terminal);
  if (apiKey === undefined) {
    throw new Error(
      'no API key: give --key or set IRONFLOW_API_KEY (the local platform prints its own as it starts)',
    );
  }
  const client = createClient({ ironflowUrl: url.value, apiKey: apiKey.value });
  return { client, json: wantsJson(command) };
}

/** A key of an operator comes from the environment or the local platform, never from an argument, which others may see. */
export function openOperatorSession(
  command: Command,
  terminal: Terminal,
): { client: OperatorClient; json: boolean } {
  const { url } = findTarget(command, terminal);
  const local = readLocalPlatform(terminal);
  const isLocal = local?.url !== undefined && isSamePlace(local.url, url.value);
  const operatorKey = terminal.env['IRONFLOW_OPERATOR_KEY'] || (isLocal ? local.operatorKey : undefined);
  if (operatorKey === undefined) {
    throw new Error(
      'no key of an operator: set IRONFLOW_OPERATOR_KEY (the local platform keeps its own with its data)',
    );
  }
  return { client: createOperatorClient({ ironflowUrl: url.value, operatorKey }), json: wantsJson(command) };
}

export function wantsJson(command: Command): boolean {
  return command.optsWithGlobals<{ json: boolean }>().json;
}

export function findTarget(command: Command, terminal: Terminal): Target {
  const options = command.optsWithGlobals<{ url?: string; key?: string }>();
  const local = readLocalPlatform(terminal);
  const url = firstOf(
    [options.url, '--url'],
    [terminal.env['IRONFLOW_URL'], 'IRONFLOW_URL'],
    [local?.url, local?.file ?? ''],
  ) ?? { value: defaultUrl, from: 'the default' };
  if (!/^https?:\/\//.test(url.value) || !URL.canParse(url.value)) {
    throw new Error(`${url.from}: must be an http or https URL`);
  }
  const apiKey = firstOf(
    [options.key, '--key'],
    [terminal.env['IRONFLOW_API_KEY'], 'IRONFLOW_API_KEY'],
    // The key of the platform on this machine is nobody else's business.
    [
      local?.url !== undefined && isSamePlace(local.url, url.value) ? local.apiKey : undefined,
      local?.file ?? '',
    ],
  );
  return { url: { ...url, value: url.value.replace(/\/+$/, '') }, apiKey };
}

function firstOf(...candidates: [string | undefined, string][]): Found | undefined {
  // An empty variable counts as absent.
  const found = candidates.find(([value]) => value !== undefined && value !== '');
  return found === undefined ? undefined : { value: found[0]!, from: found[1] };
}

function isSamePlace(one: string, other: string): boolean {
  const place = (text: string): string => {
    const { hostname, port } = new URL(text);
    return `${['localhost', '[::1]'].includes(hostname) ? '127.0.0.1' : hostname}:${port}`;
  };
  return URL.canParse(one) && place(one) === place(other);
}

interface LocalPlatform {
  file: string;
  url?: string;
  apiKey?: string;
  operatorKey?: string;
}

/** What the local platform has written for its user. */
function readLocalPlatform({ env }: Terminal): LocalPlatform | undefined {
  const file = resolve(env['IRONFLOW_DATA'] || '.ironflow', 'credentials.json');
  try {
    return { ...(JSON.parse(readFileSync(file, 'utf8')) as Omit<LocalPlatform, 'file'>), file };
  } catch {
    return undefined;
  }
}
