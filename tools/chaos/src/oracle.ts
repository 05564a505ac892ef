/** Judges from outside of the platform, by facts alone. Pure: no rule asks anything of a part that it judges. */
import { checkPinned } from './checks/builds.js';
import { checkDispositions, checkEvents, checkSent } from './checks/dispositions.js';
import {
  checkDeadLetters,
  checkDeaths,
  checkEndsAreFinal,
  checkNothingLeft,
  checkObserved,
  checkSchedule,
  checkTerminal,
  checkWaitsShareNoEvent,
} from './checks/ends.js';
import { checkFlowControl, checkScheduled } from './checks/flow.js';
import { checkPublished, checkToldInOrder } from './checks/messages.js';
import { checkSagas } from './checks/sagas.js';
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
  checkWaitsShareNoEvent,
  checkDeadLetters,
  checkSchedule,
  checkNothingLeft,
  checkDeaths,
];

export function judge(facts: Facts): Violation[] {
  return checks.flatMap((check) => check(facts));
}
