/** Judges from outside of the platform, by facts alone. Pure: no rule asks anything of a part that it judges. */
import { checkAttempts, checkBreaker } from './checks/breakers.js';
import { checkPinned } from './checks/builds.js';
import { checkDispositions, checkEvents, checkSent } from './checks/dispositions.js';
import {
  checkDeadLetters,
  checkDeaths,
  checkEndsAreFinal,
  checkNothingLeft,
  checkObserved,
  checkTerminal,
  checkWaitsShareNoEvent,
} from './checks/ends.js';
import { checkFlowControl, checkScheduled } from './checks/flow.js';
import { checkPublished, checkToldInOrder } from './checks/messages.js';
import { checkPaused } from './checks/pauses.js';
import { checkSagas } from './checks/sagas.js';
import { checkOverlapTimes, checkSchedule } from './checks/schedules.js';
import {
  checkBegunAfterStored,
  checkBegunBeforeStored,
  checkEarly,
  checkRetriesEarly,
  checkClaims,
} from './checks/steps.js';
import type { Facts, Violation } from './facts.js';

const checks: readonly ((facts: Facts) => Violation[])[] = [
  checkObserved,
  checkEvents,
  checkDispositions,
  checkSent,
  checkTerminal,
  checkEndsAreFinal,
  checkBegunAfterStored,
  checkBegunBeforeStored,
  checkEarly,
  checkRetriesEarly,
  checkClaims,
  checkSagas,
  checkPublished,
  checkToldInOrder,
  checkPinned,
  checkFlowControl,
  checkScheduled,
  checkPaused,
  checkBreaker,
  checkAttempts,
  checkWaitsShareNoEvent,
  checkDeadLetters,
  checkSchedule,
  checkOverlapTimes,
  checkNothingLeft,
  checkDeaths,
];

export function judge(facts: Facts): Violation[] {
  return checks.flatMap((check) => check(facts));
}
