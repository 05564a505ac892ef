/** What images have, without an engine that could build them: the trees that deploy/assemble.mjs makes, and what the Dockerfile says of them. */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { natsServerProgram } from '@ironflow/testing';
import type { LocalImage } from './sandbox.js';

const workspace = fileURLToPath(new URL('../../../../', import.meta.url));

export interface ImageSettings {
  entrypoint: string[];
  env: Record<string, string>;
}

/** Of the last stage. */
export function readImageSettings(dockerfile: string): ImageSettings {
  const last = dockerfile.slice(dockerfile.lastIndexOf('\nFROM '));
  const entrypoint = /^ENTRYPOINT (\[.*\])$/m.exec(last)?.[1];
  if (entrypoint === undefined) throw new Error('the Dockerfile has no ENTRYPOINT in the form of a list');
  const pairs = [...last.matchAll(/^ENV (.*)$/gm)].flatMap(([, text = '']) => text.split(' '));
  return {
    entrypoint: JSON.parse(entrypoint) as string[],
    env: Object.fromEntries(pairs.map((pair) => pair.split('=', 2) as [string, string])),
  };
}

/** The program in the name of an image: `registry.example.org/ironflow/executor:0.1.0` is `executor`. */
export function programOf(image: string): string {
  const [name = ''] = image.split('@');
  return name.slice(name.lastIndexOf('/') + 1).replace(/:.*$/, '');
}

/** Assembles each as it is asked for first. */
export async function prepareImages(
  names: readonly string[],
  folder: string,
): Promise<(name: string) => LocalImage> {
  const settings = readImageSettings(await readFile(join(workspace, 'deploy/Dockerfile'), 'utf8'));
  const images = new Map<string, LocalImage>();
  for (const name of new Set(names.map(programOf))) {
    if (name === 'nats') {
      const programs = { 'nats-server': await natsServerProgram() };
      images.set(name, { tree: undefined, programs, entrypoint: [], env: {} });
      continue;
    }
    const tree = join(folder, name);
    if (!existsSync(join(tree, 'main.mjs'))) await assemble(name, tree);
    images.set(name, { tree, programs: { node: process.execPath }, ...settings });
  }
  return (name) => {
    const image = images.get(programOf(name));
    if (image === undefined) throw new Error(`the image ${name} was not prepared`);
    return image;
  };
}

/** Answers with what it says of it. */
export async function assemble(program: string, folder: string): Promise<string> {
  const script = join(workspace, 'deploy/assemble.mjs');
  return (await promisify(execFile)(process.execPath, [script, program, folder])).stdout.trim();
}
