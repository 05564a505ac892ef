export { IronflowError, errorCategories, messageOf, toHttpError } from './error.js';
export type { ErrorBody, ErrorCategory, IronflowErrorOptions } from './error.js';
