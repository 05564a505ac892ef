/** The audit log, read and verified. It is written by libs/service/src/audit-trail.ts. */
import type { AuditStore, Authenticator } from '@ironflow/database';
import { IronflowError } from '@ironflow/errors';
import { routes } from '@ironflow/schema';
import { principalOf } from '@ironflow/service';
import type { HttpApp } from '@ironflow/service';
import { serve } from './serve-route.js';

export interface AuditOptions {
  authenticator: Authenticator;
  audit: AuditStore;
}

/** Each reads a whole log, and hashes it: so few leave the process and its connections to the others. */
const verifyingMax = 2;

export function addAudit(app: HttpApp, options: AuditOptions): void {
  const { audit } = options;
  let verifying = 0;
  serve(app, options, routes.listAudit, (request) =>
    audit.list(principalOf(request).scope.environmentId, request.query),
  );
  serve(app, options, routes.verifyAudit, async (request) => {
    if (verifying >= verifyingMax) {
      const message = 'too many audit logs are being verified';
      throw new IronflowError('unavailable', 'overloaded', message, { retryAfterSeconds: 1 });
    }
    verifying += 1;
    try {
      return await audit.verify(principalOf(request).scope.environmentId);
    } finally {
      verifying -= 1;
    }
  });
}
