/** An option, a name or a duration breaks a rule. Trying again would break it again: never retried. */
export class ConfigurationError extends Error {
  override name = 'ConfigurationError';

  constructor(
    message: string,
    /** Where, as a path such as `triggers[0].event`. */
    readonly field?: string,
  ) {
    super(message);
  }
}
