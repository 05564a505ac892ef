/** Alerts and advisories that are still open become tickets. Pull. */
import { createFunction } from '@ironflow/sdk';
import type { IronflowFunction } from '@ironflow/sdk';
import { z } from 'zod';
import { noteSteps } from '../ledger.js';
import type { Ledger } from '../ledger.js';

const advisory = z.object({ ghsa_id: z.string(), severity: z.string() });
/** Four kinds of webhooks, which say the same in different places. */
const securityWebhook = z.object({
  alert: z
    .object({
      rule: z.object({ id: z.string(), severity: z.string() }).optional(),
      security_advisory: advisory.optional(),
      ghsa_id: z.string().optional(),
      severity: z.string().optional(),
    })
    .optional(),
  security_advisory: advisory.optional(),
});
type SecurityWebhook = z.infer<typeof securityWebhook>;

const isOpen = 'event.data.alert.state == "open"';

export function watchSecurity(ledger: Ledger): IronflowFunction<SecurityWebhook> {
  return createFunction(
    {
      id: 'watch-security',
      triggers: [
        { event: 'github.code_scanning_alert.*', if: isOpen },
        { event: 'github.dependabot_alert.*', if: isOpen },
        { event: 'github.repository_vulnerability_alert.create' },
        // A last `>` is everything that follows.
        { event: 'github.security_advisory.>', if: 'event.data.action != "withdrawn"' },
      ],
      schema: securityWebhook,
    },
    noteSteps(ledger, async ({ event, step }) => {
      const finding = await step.run('assess', () => assess(event.data));

      // A step may have a retry policy of its own.
      await step.run(
        'notify-team',
        ({ attempt }) => {
          if (attempt === 1) throw new Error('the chat answered 503');
          return `${finding.what} is ${finding.isUrgent ? 'urgent' : 'for later'}`;
        },
        { retries: { attempts: 5, initialDelayMs: 200 } },
      );

      await step.sleep('grace-period', '1s');
      return step.run('open-ticket', () => ({
        ticket: finding.what,
        dueInDays: finding.isUrgent ? 1 : 30,
      }));
    }),
  );
}

const urgentSeverities = new Set(['error', 'high', 'critical']);

function assess({ alert, security_advisory: published }: SecurityWebhook): {
  what: string;
  isUrgent: boolean;
} {
  const known = published ?? alert?.security_advisory;
  const what = alert?.rule?.id ?? known?.ghsa_id ?? alert?.ghsa_id ?? 'unknown';
  const severity = alert?.rule?.severity ?? known?.severity ?? alert?.severity ?? 'unknown';
  return { what, isUrgent: urgentSeverities.has(severity) };
}
