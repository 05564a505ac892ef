/** Postgres' clock and node's are this machine's, read in microseconds and milliseconds. */
export const roundingMs = 2;
