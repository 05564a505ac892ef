/** Helm, as a user calls it. */
import { goProgram, kubernetesVersion } from './go-programs.js';
import { parseManifests } from './manifests.js';
import type { Manifest } from './manifests.js';
import { chartFolder } from './places.js';
import { runProgram } from './run-program.js';

/** Of the chart: files beside it, and over them what is given as it is. */
export interface Values {
  profiles?: readonly ('dev' | 'production' | 'large')[];
  values?: object;
}

export const release = 'ironflow';
export const namespace = 'ironflow';

export interface Helm {
  /** What a cluster would be given, as text. */
  render(values: Values): Promise<string>;
  template(values: Values): Promise<Manifest[]>;
  /** What NOTES.txt says is not rendered by `template`. */
  lint(values: Values): Promise<void>;
  run(args: readonly string[], values?: Values): Promise<string>;
}

export async function openHelm(
  say: (line: string) => void,
  env: NodeJS.ProcessEnv = process.env,
): Promise<Helm> {
  const program = env.HELM_BIN || (await goProgram('helm', say));
  const run = (args: readonly string[], values?: Values, more: NodeJS.ProcessEnv = {}): Promise<string> =>
    runProgram(program, {
      args: [...args, ...(values === undefined ? [] : valuesArguments(values))],
      // JSON is YAML, in all of its versions.
      input: JSON.stringify(values?.values ?? {}),
      env: more,
    });
  const render: Helm['render'] = (values) => {
    const version = `--kube-version=${kubernetesVersion}`;
    return run(['template', release, chartFolder, `--namespace=${namespace}`, version], values);
  };
  return {
    run,
    render,
    template: async (values) => parseManifests(await render(values)),
    lint: async (values) => {
      await run(['lint', chartFolder, '--strict', `--kube-version=${kubernetesVersion}`], values);
    },
  };
}

function valuesArguments({ profiles = [] }: Values): string[] {
  const files = profiles.map((profile) => `--values=${chartFolder}/profiles/${profile}.yaml`);
  return [...files, '--values=-'];
}
