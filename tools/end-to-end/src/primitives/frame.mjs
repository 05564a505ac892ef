// The functions of the table: a recorded step before the primitive and one after it, so that it shows what a crash repeats.
import { createFunction } from '@ironflow/sdk';

/** Enough for what is asked while the app is away. */
export const patient = { attempts: 20, initialDelayMs: 100, factor: 1.5, maxDelayMs: 1_000 };
export const quick = { attempts: 2, initialDelayMs: 10 };

export function createFrame(mode, work) {
  const around = (primitive) => async (context) => {
    const { step, run } = context;
    await step.run('before', () => work(run, 'before'));
    const output = await primitive(context);
    await step.run('after', () => work(run, 'after'));
    return output;
  };
  const define = (name, handler, config = {}) =>
    createFunction({ id: `${mode}-${name}`, triggers: [], retries: patient, ...config }, handler);
  return {
    around,
    define,
    framed: (name, primitive, config) => define(name, around(primitive), config),
    /** The options of a step that a test asks for. */
    asAsked: ({ fails, timeout }) => ({
      retries: fails === undefined ? { ...patient, initialDelayMs: 10 } : quick,
      ...(timeout === undefined ? {} : { timeout }),
    }),
  };
}
