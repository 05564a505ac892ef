/**
 * Approvals: a wait for a signal that only the platform sends, when somebody has decided. Its name lies in a space that is
 * reserved, so that no other signal is taken for a decision.
 */
import { z } from 'zod';
import { limits } from './limits.js';
import { utf8Text } from './utf8-text.js';

const reservedSignalPrefix = 'ironflow.approval:';

export function isReservedSignal(name: string): boolean {
  return name.startsWith('ironflow.');
}

/** `approval`: the name that the step was given, then `name:1`, `name:2` for its repetitions within a run. */
export function approvalSignal(approval: string): string {
  return `${reservedSignalPrefix}${approval}`;
}

/** `undefined`: the signal is no approval's. */
export function approvalOfSignal(signal: string): string | undefined {
  return signal.startsWith(reservedSignalPrefix) ? signal.slice(reservedSignalPrefix.length) : undefined;
}

export const approvalNameBytesMax = limits.stepNameBytesMax - reservedSignalPrefix.length;

/** What somebody says. */
export const verdictSchema = z.object({
  approved: z.boolean(),
  comment: utf8Text(limits.approvalCommentBytesMax)
    .refine((text) => !text.includes('\0'), 'must not contain NUL')
    .optional(),
});
export type Verdict = z.infer<typeof verdictSchema>;

/** What the step resolves with. */
export type ApprovalDecision = Verdict & {
  /** ISO 8601. */
  decidedAt: string;
};
