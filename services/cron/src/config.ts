/** The cron service needs nothing beyond the variables of every service. */
export const cronConfigShape = {};
