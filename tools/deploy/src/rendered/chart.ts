/** The chart with its production profile, and with what an installation on this machine says. */
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { openHelm } from '@ironflow/chart';
import { parse } from 'yaml';

const valuesFile = fileURLToPath(new URL('../../values.yaml', import.meta.url));

export async function renderChart(say: (line: string) => void): Promise<string> {
  const values = parse(await readFile(valuesFile, 'utf8')) as object;
  return (await openHelm(say)).render({ profiles: ['production'], values });
}
