/** The version of every package of this repository: of each line, metric, span and announcement. */
export const platformVersion = '0.1.0';
