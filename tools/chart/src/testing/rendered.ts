/** What Helm renders, for suites: each set of values once. */
import { cases } from '../cases.js';
import type { CaseName } from '../cases.js';
import { openHelm } from '../helm.js';
import type { Values } from '../helm.js';
import type { Manifest } from '../manifests.js';

const helm = openHelm((line) => process.stderr.write(`${line}\n`));
const rendered = new Map<string, Promise<Manifest[]>>();

export function render(values: Values): Promise<Manifest[]> {
  const key = JSON.stringify(values);
  const known = rendered.get(key);
  if (known !== undefined) return known;
  const promise = helm.then((opened) => opened.template(values));
  rendered.set(key, promise);
  return promise;
}

export const renderCase = (name: CaseName): Promise<Manifest[]> => render(cases[name]);

/** Why it is not rendered. */
export async function refusal(values: Values): Promise<string> {
  const outcome = await render(values).then(
    () => 'it was rendered',
    (error: Error) => error.message,
  );
  return outcome.replaceAll(/\s+/g, ' ');
}

export const caseNames = Object.keys(cases) as CaseName[];
