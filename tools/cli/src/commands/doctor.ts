/** `ironflow doctor`: looks at what a user's setup stands on, or an installation, and names what is wrong. */
import { Command } from 'commander';
import { messageOf } from '@ironflow/errors';
import type { Finding } from '@ironflow/installation';
import { IronflowApiError, createClient } from '@ironflow/sdk';
import type { Client } from '@ironflow/sdk';
import { plain, printJson } from '../output.js';
import { ReportedFailure } from '../reported-failure.js';
import { findTarget, wantsJson } from '../session.js';
import type { Found, Target } from '../session.js';
import type { Terminal } from '../terminal.js';
import { loadInstallation } from '../installed-parts.js';

const nodeMinimum = [20, 19] as const;
const answerWithinMs = 5_000;
/** Signed calls may be five minutes off; clocks that are one off already drift. */
const clockSkewMsMax = 60_000;

export function doctorCommand(terminal: Terminal): Command {
  return new Command('doctor')
    .description('check this machine, the key and the platform; exit code 1 when something is wrong')
    .option(
      '--installation',
      'for operators: check the NATS servers and the database, with the variables that services have (DATABASE_URL, TENANT_DATABASE_URL, NATS_URL …)',
    )
    .action(async ({ installation = false }: { installation?: boolean }, command: Command) => {
      const check = installation ? checkInstallation : checkTarget;
      const findings = [checkNode(), ...(await check(command, terminal))];
      const ok = findings.every(({ result }) => result !== 'fail');
      if (wantsJson(command)) printJson(terminal, { ok, findings });
      else printFindings(terminal, findings);
      if (!ok) throw new ReportedFailure();
    });
}

function printFindings(terminal: Terminal, findings: readonly Finding[]): void {
  const width = Math.max(...findings.map(({ check }) => check.length));
  for (const { check, result, detail } of findings) {
    const mark = { ok: 'ok  ', note: 'note', fail: 'FAIL' }[result];
    terminal.print(`${mark}  ${check.padEnd(width)}  ${plain(detail)}`);
  }
}

function checkNode(): Finding {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  const ok = major > nodeMinimum[0] || (major === nodeMinimum[0] && minor >= nodeMinimum[1]);
  const detail = ok ? process.version : `${process.version}: ${nodeMinimum.join('.')} or newer is needed`;
  return { check: 'node', result: ok ? 'ok' : 'fail', detail };
}

async function checkTarget(command: Command, terminal: Terminal): Promise<Finding[]> {
  let target: Target;
  try {
    target = findTarget(command, terminal);
  } catch (error) {
    return [{ check: 'platform', result: 'fail', detail: messageOf(error) }];
  }
  const { url, apiKey } = target;
  const answer = await askReadiness(url);
  const findings =
    answer === undefined ? [unreachable(url)] : [await checkReadiness(url, answer), checkClock(answer)];
  if (apiKey === undefined) {
    const detail = 'there is none: give --key or set IRONFLOW_API_KEY (the local platform prints its own)';
    return [...findings, { check: 'key', result: 'fail', detail }];
  }
  if (findings[0]?.result !== 'ok') return findings;
  const client = createClient({ ironflowUrl: url.value, apiKey: apiKey.value });
  const key = await checkKey(client, apiKey);
  return [...findings, key, ...(key.result === 'ok' ? [await checkFunctions(client)] : [])];
}

/** What answers at a URL that was given is looked at too: its clock is one of the installation's. */
async function checkInstallation(command: Command, terminal: Terminal): Promise<Finding[]> {
  const { diagnoseInstallation } = await loadInstallation();
  let target: Target;
  try {
    target = findTarget(command, terminal);
  } catch (error) {
    return [{ check: 'platform', result: 'fail', detail: messageOf(error) }];
  }
  const { url } = target;
  if (url.from === 'the default') return diagnoseInstallation({ env: terminal.env, clocks: [] });
  const sentAt = Date.now();
  const answer = await askReadiness(url);
  const tookMs = Date.now() - sentAt;
  const platform = answer === undefined ? unreachable(url) : await checkReadiness(url, answer);
  const date = Date.parse(answer?.headers.get('date') ?? '');
  // It is told in whole seconds.
  const aheadMs = date + 500 - (sentAt + tookMs / 2);
  const reading = { name: 'the platform', aheadMs, uncertaintyMs: 500 + tookMs / 2 };
  const clocks = Number.isNaN(date) ? [] : [reading];
  return [platform, ...(await diagnoseInstallation({ env: terminal.env, clocks }))];
}

async function askReadiness({ value }: Found): Promise<Response | undefined> {
  return fetch(`${value}/readyz`, { signal: AbortSignal.timeout(answerWithinMs) }).catch(() => undefined);
}

function unreachable({ value, from }: Found): Finding {
  const detail = `${value} (${from}) cannot be reached: is it running? (npm start, ironflow up)`;
  return { check: 'platform', result: 'fail', detail };
}

async function checkReadiness({ value, from }: Found, answer: Response): Promise<Finding> {
  const where = `${value} (${from})`;
  const body = (await answer.json().catch(() => undefined)) as
    { checks?: Record<string, unknown> } | undefined;
  if (body?.checks === undefined) {
    const detail = `${where} answers ${answer.status}, and not as a platform does: is another program there?`;
    return { check: 'platform', result: 'fail', detail };
  }
  if (answer.ok) return { check: 'platform', result: 'ok', detail: `${where} is ready` };
  const failing = Object.entries(body.checks).filter(([, result]) => result !== 'ok');
  const why = failing.map(([name, result]) => `${name}: ${String(result)}`).join(', ');
  return { check: 'platform', result: 'fail', detail: `${where} is not ready: ${why || 'it is stopping'}` };
}

function checkClock(answer: Response): Finding {
  const date = Date.parse(answer.headers.get('date') ?? '');
  const skewMs = Number.isNaN(date) ? 0 : Math.abs(Date.now() - date);
  if (skewMs <= clockSkewMsMax) return { check: 'clock', result: 'ok', detail: 'agrees with the platform' };
  const detail = `${Math.round(skewMs / 1_000)} s off the platform’s: signed calls are refused beyond 300 s`;
  return { check: 'clock', result: 'fail', detail };
}

async function checkKey(client: Client, { from }: Found): Promise<Finding> {
  try {
    const { project, env, role } = await client.identity();
    return { check: 'key', result: 'ok', detail: `${role} of ${project}/${env} (${from})` };
  } catch (error) {
    const isRefused = error instanceof IronflowApiError && error.status === 401;
    const why = isRefused ? 'the platform does not know it' : messageOf(error);
    return { check: 'key', result: 'fail', detail: `${why} (${from})` };
  }
}

async function checkFunctions(client: Client): Promise<Finding> {
  try {
    const active = (await client.functions.list()).filter(({ status }) => status === 'active');
    if (active.length > 0) return { check: 'functions', result: 'ok', detail: `${active.length} registered` };
    const detail = 'none is registered: an app registers its own when it starts, or by `apps sync`';
    return { check: 'functions', result: 'note', detail };
  } catch (error) {
    return { check: 'functions', result: 'fail', detail: messageOf(error) };
  }
}
