/** Ends a command with exit code 1 when it has said itself what is wrong. */
export class ReportedFailure extends Error {
  override readonly name = 'ReportedFailure';
}
