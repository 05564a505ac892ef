// An app of one group's functions as a process of its own, as it is deployed: a worker (pull) or an endpoint (push), which
// can be killed. Whatever a function does is told to the parent, who says when it may go on. Plain JavaScript, so that it
// runs without a build of this package.
import { createServer } from 'node:http';
import { createWorker, serve } from '@ironflow/sdk';

const { GROUP, MODE, PORT } = process.env;
const { functions } = await import(new URL(`./${GROUP}-functions.mjs`, import.meta.url));

/** What waits for the parent's word, by the number under which it was told. */
const waiting = new Map();
let told = 0;

process.on('message', ({ goOn }) => {
  waiting.get(goOn)?.();
  waiting.delete(goOn);
});
process.on('disconnect', () => process.exit());

/** Tells that something is done for a run, and does it for as long as the parent holds it. */
function work(run, what, signal) {
  return new Promise((resolve, reject) => {
    told += 1;
    waiting.set(told, resolve);
    signal?.addEventListener('abort', () => {
      process.send({ kind: 'aborted', runId: run.id, what, reason: signal.reason.name });
      reject(signal.reason);
    });
    process.send({ kind: 'begun', number: told, runId: run.id, what });
  });
}

function tell(run, saying) {
  process.send({ kind: 'said', runId: run.id, saying });
}

// Between the platform's answer to what a step asks of it and that step's record lies what a crash must not repeat.
const asked = new Map([
  ['/v1/events', 'answer to emit'],
  ['/v1/invocations', 'answer to invoke'],
  ['/v1/topics', 'answer to publish'],
]);
const ask = globalThis.fetch;
globalThis.fetch = async (url, options) => {
  const answer = await ask(url, options);
  const what = asked.get(new URL(url).pathname.split('/', 3).join('/'));
  if (what !== undefined) await work({ id: 'platform' }, what);
  return answer;
};

const options = { app: `${GROUP}-${MODE}`, functions: functions(MODE, work, tell), log: () => {} };
if (MODE === 'pull') {
  await createWorker({ ...options, handleSignals: false }).start();
} else {
  const app = serve({ ...options, url: `http://127.0.0.1:${PORT}/` });
  const server = createServer((request, response) => app.node(request, response));
  await new Promise((resolve) => server.listen(Number(PORT), '127.0.0.1', resolve));
  await app.register();
}
process.send({ kind: 'ready' });
