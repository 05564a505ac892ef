/**
 * A process of its own: a worker or a push endpoint of an SDK of whatever build, with the functions that run during an
 * upgrade. They use what every version of the SDK knows: steps, a sleep, a retry, a logger.
 */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type * as ironflow from '@ironflow/sdk';
import { faultEvent, pullFunction, pushFunction } from './fault-functions.js';
import { createLedger } from './ledger.js';
import { stepNamesOfUpgrade } from './upgrade-checks.js';

const sdk = (await import(process.env['SDK_URL']!)) as typeof ironflow;
const note = createLedger(process.env['LEDGER']!);

const upgradeFunction = (id: string) =>
  sdk.createFunction<unknown, { n: number }>(
    { id, triggers: [{ event: faultEvent }], retries: { attempts: 3, initialDelayMs: 200 } },
    async ({ event, step, run, logger }) => {
      const done: string[] = [];
      for (const name of stepNamesOfUpgrade) {
        const result = await step.run(name, async ({ attempt }) => {
          note({ what: 'begun', run: run.id, step: name, attempt });
          await new Promise((resolve) => setTimeout(resolve, 100));
          if (name === 'charge' && attempt === 1 && event.data.n % 5 === 0) throw new Error('declined once');
          return name;
        });
        done.push(result);
        logger.info('done', { name });
        if (name === 'reserve') await step.sleep('settle', '1s');
      }
      return { n: event.data.n, done };
    },
  );

if (process.env['MODE'] === 'pull') {
  const worker = sdk.createWorker({
    app: 'upgrade-worker',
    functions: [upgradeFunction(pullFunction)],
    slots: 512,
    log: () => undefined,
  });
  await worker.start();
} else {
  const server = createServer((request, response) => void app.node(request, response));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  const app = sdk.serve({
    app: 'upgrade-endpoint',
    functions: [upgradeFunction(pushFunction)],
    url,
    log: () => undefined,
  });
  await app.register();
}
process.send?.('ready');
