/** Which clock of an installation is wrong, from how much each is ahead of this machine's. Pure. */
import type { ClockReading } from '@ironflow/jetstream';
import { fail, findingsOf, note } from './finding.js';
import type { Finding, Problem } from './finding.js';

/** What looks back over time makes up for a minute; signed calls are refused beyond five. */
const skewMsMax = 60_000;
/** Clocks that are kept by NTP are much closer. */
const skewMsNoted = 2_000;

/** Most of them are right: the one in the middle is what the others are compared with. */
export function clockFindings(others: readonly ClockReading[]): Finding[] {
  if (others.length === 0) return [];
  const readings = [{ name: 'this machine', aheadMs: 0, uncertaintyMs: 0 }, ...others];
  const sorted = readings.map(({ aheadMs }) => aheadMs).sort((a, b) => a - b);
  const middle =
    (sorted[Math.floor((sorted.length - 1) / 2)]! + sorted[Math.ceil((sorted.length - 1) / 2)]!) / 2;
  const problems = readings.length === 2 ? ofTwo(others[0]!) : readings.flatMap((one) => ofOne(one, middle));
  return findingsOf('clocks', problems, `${readings.map(({ name }) => name).join(', ')} agree`);
}

/** Nobody can say which. */
function ofTwo({ name, aheadMs, uncertaintyMs }: ClockReading): Problem[] {
  return judge(Math.abs(aheadMs) - uncertaintyMs, `this machine and ${name} differ by`);
}

function ofOne({ name, aheadMs, uncertaintyMs }: ClockReading, middle: number): Problem[] {
  const off = aheadMs - middle;
  return judge(Math.abs(off) - uncertaintyMs, `the clock of ${name} is ${off > 0 ? 'ahead' : 'behind'} by`);
}

function judge(skewMs: number, what: string): Problem[] {
  if (skewMs < skewMsNoted) return [];
  const said = `${what} ${Math.round(skewMs / 1_000)} s`;
  if (skewMs < skewMsMax) return [note(`${said}: keep clocks by NTP`)];
  return [fail(`${said}: timers, schedules and signatures go by it; keep clocks by NTP`)];
}
