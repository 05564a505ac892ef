/** The page of a one-time link: everything in one document, nothing from elsewhere, and no scripts. Pure. */
import { createHash } from 'node:crypto';
import { limits } from '@ironflow/schema';

export type ApprovalPage =
  | { kind: 'open'; functionId: string; name: string }
  | { kind: 'taken'; approved: boolean }
  | { kind: 'decided' }
  | { kind: 'closed' }
  | { kind: 'unknown' };

const style = `body{font:16px/1.5 system-ui,sans-serif;max-width:32rem;margin:10vh auto;padding:0 1rem}
textarea{width:100%;box-sizing:border-box;font:inherit;margin:.25rem 0 1rem}
button{font:inherit;padding:.5rem 1.25rem;margin-right:.5rem}`;

const styleHash = createHash('sha256').update(style).digest('base64');

export const pageHeaders = {
  'content-type': 'text/html; charset=utf-8',
  'content-security-policy': `default-src 'none'; style-src 'sha256-${styleHash}'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'`,
  // The address is the right to decide.
  'referrer-policy': 'no-referrer',
  'cache-control': 'no-store',
  'x-robots-tag': 'noindex, nofollow',
  'x-content-type-options': 'nosniff',
} as const;

export function approvalPage(page: ApprovalPage): { status: number; html: string } {
  switch (page.kind) {
    case 'open':
      return { status: 200, html: documentOf('Approval', formOf(page)) };
    case 'taken':
      return { status: 200, html: documentOf(page.approved ? 'Approved' : 'Rejected', thanks) };
    case 'decided':
      return { status: 410, html: documentOf('Decided before', closed) };
    case 'closed':
      return { status: 410, html: documentOf('No longer open', closed) };
    case 'unknown':
      return { status: 404, html: documentOf('Not found', '<p>There is no such link.</p>') };
  }
}

const thanks = '<p>Your decision is stored. You can close this page.</p>';
const closed = '<p>There is nothing to decide here any more.</p>';

function formOf({ functionId, name }: { functionId: string; name: string }): string {
  return `<p><strong>${escaped(functionId)}</strong> asks for approval: <strong>${escaped(name)}</strong></p>
<form method="post">
<label>Comment <textarea name="comment" rows="4" maxlength="${Math.floor(limits.approvalCommentBytesMax / 4)}"></textarea></label>
<button name="decision" value="approve">Approve</button>
<button name="decision" value="reject">Reject</button>
</form>`;
}

function documentOf(title: string, body: string): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex, nofollow">
<meta name="referrer" content="no-referrer">
<title>${title}</title>
<style>${style}</style>
</head>
<body>
<h1>${title}</h1>
${body}
</body>
</html>
`;
}

const entities: Record<string, string> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

function escaped(text: string): string {
  return text.replace(/[&<>"']/g, (character) => entities[character]!);
}
