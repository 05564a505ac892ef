/**
 * Approvals: links made for those who are asked, and decisions, by a key or on the page of a link. A page shows no more than
 * what is asked for, and to open one decides nothing, since scanners of mail do so. The token is the right to decide: it is in
 * no log, error or answer but the one that makes it.
 */
import { randomBytes } from 'node:crypto';
import type { ApprovalStore, Authenticator, DecisionOutcome } from '@ironflow/database';
import { IronflowError } from '@ironflow/errors';
import type { Notices } from '@ironflow/jetstream';
import { createId, limits, routes } from '@ironflow/schema';
import { principalOf, tellAudit } from '@ironflow/service';
import type { HttpApp } from '@ironflow/service';
import type { FastifyReply } from 'fastify';
import { approvalPage, pageHeaders } from './approval-page.js';
import type { ApprovalPage } from './approval-page.js';
import { runNotFound } from './run-streams.js';
import { serve } from './serve-route.js';

export interface ApprovalsOptions {
  authenticator: Authenticator;
  approvals: ApprovalStore;
  notices: Pick<Notices, 'publishWaits'>;
  now: () => Date;
}

export function addApprovals(app: HttpApp, options: ApprovalsOptions): void {
  const { approvals, notices, now } = options;
  serve(app, options, routes.createApprovalLink, async (request, reply) => {
    const approval = { runId: request.params.id, name: request.body.name };
    const { environmentId } = principalOf(request).scope;
    const outcome = await approvals.createLink(environmentId, approval, randomBytes(32));
    if (outcome.kind === 'not_found') throw runNotFound();
    if (outcome.kind === 'ended') throw new IronflowError('conflict', 'run_ended', 'the run has ended');
    if (outcome.kind === 'too_many') {
      const message = `the run has asked for approvals ${limits.approvalLinksPerRunMax} times`;
      throw new IronflowError('conflict', 'too_many_approval_links', message);
    }
    tellAudit(request, { details: { name: approval.name, link: outcome.linkId } });
    return reply
      .code(201)
      .header('cache-control', 'no-store')
      .send({ path: routes.showApproval.path.replace(':token', outcome.token) });
  });
  serve(app, options, routes.decideApproval, async (request, reply) => {
    const { scope } = principalOf(request);
    const { name, id = newId(), ...verdict } = request.body;
    const runId = request.params.id;
    const decision = { ...verdict, id, decidedAt: now().toISOString() };
    const outcome = await approvals.decide(scope.environmentId, { runId, name }, decision);
    if (outcome !== 'decided') throw refusals[outcome]();
    notices.publishWaits({ scope, runId });
    tellAudit(request, { details: { name, approved: verdict.approved } });
    return reply.code(202).send({ id, approved: verdict.approved, decidedAt: decision.decidedAt });
  });
  addPages(app, options);
}

/** Whoever has no key may ask: so few at once leave most of the database's connections (10) to those who have one. */
const pagesUnderWayMax = 3;
const formBytesMax = 64 * 1024;

function addPages(app: HttpApp, options: ApprovalsOptions): void {
  const { approvals, notices, now } = options;
  let underWay = 0;
  const answer = async (reply: FastifyReply, read: () => Promise<ApprovalPage>): Promise<FastifyReply> => {
    if (underWay >= pagesUnderWayMax) {
      const more = { retryAfterSeconds: 1 };
      throw new IronflowError('unavailable', 'overloaded', 'too many pages are asked for at once', more);
    }
    underWay += 1;
    try {
      const { status, html } = approvalPage(await read());
      return reply.code(status).headers(pageHeaders).send(html);
    } finally {
      underWay -= 1;
    }
  };
  void app.register(async (pages: HttpApp) => {
    pages.addContentTypeParser(
      'application/x-www-form-urlencoded',
      { parseAs: 'string', bodyLimit: formBytesMax },
      (_request, body, done) => done(null, formOf(body as string)),
    );
    serve(pages, options, routes.showApproval, (request, reply) =>
      answer(reply, async () => {
        const approval = await approvals.findLink(request.params.token);
        const state = approval && (await approvals.stateOf(approval));
        if (approval === undefined || state === undefined) return { kind: 'unknown' };
        if (state.state !== 'open') return { kind: state.state };
        return { kind: 'open', name: approval.name, functionId: state.functionId };
      }),
    );
    serve(pages, options, routes.decideByLink, (request, reply) =>
      answer(reply, async () => {
        const approval = await approvals.findLink(request.params.token);
        if (approval === undefined) return { kind: 'unknown' };
        const { decision, comment = '' } = request.body;
        const approved = decision === 'approve';
        const outcome = await approvals.decide(approval.scope.environmentId, approval, {
          id: newId(),
          approved,
          ...(comment === '' ? {} : { comment }),
          decidedAt: now().toISOString(),
        });
        if (outcome === 'decided_before') return { kind: 'decided' };
        if (outcome !== 'decided') return { kind: 'closed' };
        notices.publishWaits({ scope: approval.scope, runId: approval.runId });
        tellAudit(request, {
          environmentIds: [approval.scope.environmentId],
          actor: { kind: 'link', id: approval.linkId },
          targetId: approval.runId,
          details: { name: approval.name, approved },
        });
        return { kind: 'taken', approved };
      }),
    );
  });
}

/** Of fields that are given twice the last. */
function formOf(body: string): Record<string, string> {
  return Object.fromEntries(new URLSearchParams(body));
}

function newId(): string {
  return createId(Date.now(), randomBytes(10));
}

const refusals: Record<Exclude<DecisionOutcome, 'decided'>, () => IronflowError> = {
  not_found: runNotFound,
  unknown: () =>
    new IronflowError(
      'not_found',
      'approval_not_found',
      'the run has not asked for an approval of that name',
    ),
  ended: () => new IronflowError('conflict', 'run_ended', 'the run has ended'),
  id_reused: () =>
    new IronflowError('conflict', 'idempotency_key_reused', 'the id was used for something else of this run'),
  decided_before: () => new IronflowError('conflict', 'approval_decided', 'it has been decided before'),
  expired: () => new IronflowError('conflict', 'approval_expired', 'the run has gone on without a decision'),
};
