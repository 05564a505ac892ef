/** One answer for all who ask within a second: whoever comes while it is being found out waits for the same. */
import type { Clock } from '@ironflow/service';

/** Scrapes and autoscalers ask every few seconds, each for itself. */
const freshMs = 1_000;

/** A failure is nobody's answer but theirs who waited for it. */
export function createRecentAnswer<Answer>(
  ask: () => Promise<Answer>,
  clock: Pick<Clock, 'now'>,
): () => Promise<Answer> {
  let known: { answer: Answer; askedAtMs: number } | undefined;
  let asking: Promise<Answer> | undefined;

  async function askNow(): Promise<Answer> {
    const askedAtMs = clock.now();
    try {
      const answer = await ask();
      known = { answer, askedAtMs };
      return answer;
    } finally {
      asking = undefined;
    }
  }

  return async () => {
    if (known !== undefined && clock.now() - known.askedAtMs < freshMs) return known.answer;
    return (asking ??= askNow());
  };
}
