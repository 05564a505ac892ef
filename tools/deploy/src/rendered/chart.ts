/** The chart with its production profile, and with the values of an installation on this machine, as `helm template` renders it. */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { messageOf } from '@ironflow/errors';

const at = (path: string): string => fileURLToPath(new URL(`../../../../${path}`, import.meta.url));

export async function renderChart(env: NodeJS.ProcessEnv = process.env): Promise<string> {
  const chart = at('helm/ironflow');
  if (!existsSync(chart)) throw new Error('there is no helm/ironflow to render: give --manifest');
  const helm = env.HELM_BIN || 'helm';
  const values = [`${chart}/profiles/production.yaml`, at('tools/deploy/values.yaml')];
  const args = ['template', 'ironflow', chart, ...values.flatMap((file) => ['--values', file])];
  try {
    const { stdout } = await promisify(execFile)(helm, args, { maxBuffer: 64 * 1024 * 1024 });
    return stdout;
  } catch (error) {
    throw new Error(`the chart cannot be rendered by ${helm}: ${messageOf(error)}`, { cause: error });
  }
}
