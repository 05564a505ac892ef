/**
 * Holds back what may begin only after everything recorded before is durable: no step begins before the records that
 * were submitted before it was called are acknowledged.
 */

export class Gate {
  private submitted = 0;
  /** In the order of submission: the first is the oldest. */
  private readonly open = new Set<number>();
  private readonly waiting: { after: number; begin: () => void }[] = [];

  get outstanding(): number {
    return this.open.size;
  }

  get held(): number {
    return this.waiting.length;
  }

  /** Number of the submission that is now under way. */
  submit(): number {
    this.open.add(++this.submitted);
    return this.submitted;
  }

  acknowledge(submission: number): void {
    this.open.delete(submission);
    const oldest = this.open.values().next().value ?? Number.POSITIVE_INFINITY;
    while (this.waiting.length > 0 && this.waiting[0]!.after < oldest) this.waiting.shift()!.begin();
  }

  /** Begins at once if nothing is outstanding, else as soon as all that was submitted until now is acknowledged. */
  pass(begin: () => void): void {
    if (this.open.size === 0) begin();
    else this.waiting.push({ after: this.submitted, begin });
  }
}
