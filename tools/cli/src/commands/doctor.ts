/** `ironflow doctor`: looks at what a user's setup stands on and names what is wrong. */
import { Command } from 'commander';
import { messageOf } from '@ironflow/errors';
import { IronflowApiError } from '@ironflow/sdk';
import { print, printJson } from '../output.js';
import { openSession } from '../session.js';
import type { Session } from '../session.js';

interface Finding {
  check: string;
  ok: boolean;
  detail: string;
}

const nodeMinimum = [20, 19] as const;
const clockSkewMsMax = 60_000;

export function doctorCommand(): Command {
  return new Command('doctor')
    .description('check this machine, the key and the platform')
    .action(async (_flags: unknown, command: Command) => {
      const json = command.optsWithGlobals<{ json: boolean }>().json;
      const findings = [checkNode(), ...(await checkPlatform(command))];
      if (json) printJson({ ok: findings.every(({ ok }) => ok), findings });
      else
        for (const { ok, check, detail } of findings)
          print(`${ok ? 'ok  ' : 'FAIL'}  ${check.padEnd(10)} ${detail}`);
      if (findings.some(({ ok }) => !ok)) process.exitCode = 1;
    });
}

function checkNode(): Finding {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  const ok = major > nodeMinimum[0] || (major === nodeMinimum[0] && minor >= nodeMinimum[1]);
  return {
    check: 'node',
    ok,
    detail: ok ? process.version : `${process.version}: ${nodeMinimum.join('.')} is needed`,
  };
}

async function checkPlatform(command: Command): Promise<Finding[]> {
  let session: Session;
  try {
    session = openSession(command);
  } catch (error) {
    return [{ check: 'key', ok: false, detail: messageOf(error) }];
  }
  const answer = await fetch(`${session.url}/readyz`, { signal: AbortSignal.timeout(5_000) }).catch(
    () => undefined,
  );
  if (answer === undefined) {
    return [
      {
        check: 'platform',
        ok: false,
        detail: `${session.url} cannot be reached: is it running? (npm start)`,
      },
    ];
  }
  return [
    await checkReadiness(session, answer),
    checkClock(answer),
    await checkKey(session),
    await checkFunctions(session),
  ];
}

async function checkReadiness(session: Session, answer: Response): Promise<Finding> {
  const body = (await answer.json().catch(() => ({}))) as { checks?: Record<string, string> };
  const failing = Object.entries(body.checks ?? {}).filter(([, result]) => result !== 'ok');
  const detail = answer.ok
    ? `${session.url} is ready`
    : `${session.url} is not ready: ${failing.map(([name, result]) => `${name} ${result}`).join(', ') || answer.status}`;
  return { check: 'platform', ok: answer.ok, detail };
}

function checkClock(answer: Response): Finding {
  const date = answer.headers.get('date');
  const skewMs = date === null ? 0 : Math.abs(Date.now() - Date.parse(date));
  const ok = skewMs <= clockSkewMsMax;
  const seconds = Math.round(skewMs / 1_000);
  return {
    check: 'clock',
    ok,
    detail: ok ? 'agrees with the platform' : `${seconds} s off: signatures will be refused`,
  };
}

async function checkKey(session: Session): Promise<Finding> {
  try {
    const { project, env, role } = await session.client.identity();
    return { check: 'key', ok: true, detail: `${role} of ${project}/${env}` };
  } catch (error) {
    const refused = error instanceof IronflowApiError && error.status === 401;
    return { check: 'key', ok: false, detail: refused ? 'the platform does not know it' : messageOf(error) };
  }
}

async function checkFunctions(session: Session): Promise<Finding> {
  try {
    const active = (await session.client.functions.list()).filter(({ status }) => status === 'active');
    const detail = active.length === 0 ? 'none is registered yet' : `${active.length} registered`;
    return { check: 'functions', ok: true, detail };
  } catch (error) {
    return { check: 'functions', ok: false, detail: messageOf(error) };
  }
}
