/**
 * Holds back what may begin only after everything recorded before is durable: no step begins before the records that
 * were submitted before it was called are acknowledged.
 */

export interface Gate {
  /** Number of the submission that is now under way. */
  submit(): number;
  acknowledge(submission: number): void;
  /** Begins at once if nothing is outstanding, else as soon as all that was submitted until now is acknowledged. */
  pass(begin: () => void): void;
  readonly outstanding: number;
  readonly held: number;
}

export function createGate(): Gate {
  let submitted = 0;
  // In the order of submission: the first is the oldest.
  const outstanding = new Set<number>();
  const held: { after: number; begin: () => void }[] = [];
  return {
    submit() {
      outstanding.add(++submitted);
      return submitted;
    },
    acknowledge(submission) {
      outstanding.delete(submission);
      const oldest = outstanding.values().next().value ?? Number.POSITIVE_INFINITY;
      while (held.length > 0 && held[0]!.after < oldest) held.shift()!.begin();
    },
    pass(begin) {
      if (outstanding.size === 0) begin();
      else held.push({ after: submitted, begin });
    },
    get outstanding() {
      return outstanding.size;
    },
    get held() {
      return held.length;
    },
  };
}
