/**
 * Which payloads start which functions, written by hand from reading the payloads of @octokit/webhooks-examples 7.6.1
 * (api.github.com). It must never be computed from the functions' triggers: it is what the platform is checked against.
 */
export interface ExpectedFunction {
  /** How its app is reached. */
  mode: 'push' | 'pull';
  /** Of the payloads that start it: indexes into the package, in its order. */
  payloads: readonly number[];
  /** Of each of its runs; sleeps are not in the ledger. */
  steps: readonly string[];
  sleeps: readonly string[];
  /** Steps whose first attempt fails. */
  retried: readonly string[];
}

export const expectedPayloads = 329;

export const expectedFunctions: Readonly<Record<string, ExpectedFunction>> = {
  'triage-issue': {
    mode: 'push',
    // "issues": 118 to 121 are opened (121 by a transfer), 123 is reopened.
    // The others are edited, assigned, labeled, locked, milestoned, pinned, transferred and so on.
    payloads: [118, 119, 120, 121, 123],
    steps: ['classify', 'find-duplicates', 'choose-labels', 'comment'],
    sleeps: ['cool-off'],
    retried: ['find-duplicates'],
  },
  'greet-first-time-contributor': {
    mode: 'push',
    // 58: a discussion is answered by dan2wik, whose association is NONE. 76 to 78: Octocoders forks a repository of
    // Codertocat's. The pull requests that are opened (205, 217 to 219) are all by the OWNER, who needs no greeting.
    payloads: [58, 76, 77, 78],
    steps: ['look-up-contributor', 'write-greeting', 'post-greeting'],
    sleeps: ['not-too-eager'],
    retried: [],
  },
  'summarise-pull-request': {
    mode: 'pull',
    // "pull_request" is 205 to 233; 210, 211 and 212 have just been converted to drafts. Reviews, review comments and
    // threads (234 to 245) are events of their own.
    payloads: [
      205, 206, 207, 208, 209, 213, 214, 215, 216, 217, 218, 219, 220, 221, 222, 223, 224, 225, 226, 227, 228,
      229, 230, 231, 232, 233,
    ],
    steps: ['read-changes', 'read-conversation', 'write-summary', 'publish-summary'],
    sleeps: ['quiet-period'],
    retried: [],
  },
  'watch-security': {
    mode: 'pull',
    // Code scanning: 23, 25, 27 and 28 are open (24 dismissed, 26 fixed). Dependabot: 44 is open (43 and 45 fixed).
    // Vulnerability alerts: 283 to 285 are created, 286 dismissed. Advisories: 287 and 288 published, 289 updated, 290
    // withdrawn.
    payloads: [23, 25, 27, 28, 44, 283, 284, 285, 287, 288, 289],
    steps: ['assess', 'notify-team', 'open-ticket'],
    sleeps: ['grace-period'],
    retried: ['notify-team'],
  },
};

export const expectedRuns = Object.values(expectedFunctions).reduce(
  (sum, { payloads }) => sum + payloads.length,
  0,
);
