export { parseAccountsFile } from './accounts-file.js';
export type { AccountsFile, AccountSigners } from './accounts-file.js';
export { createInstallation } from './installation.js';
export type { Installation, OperatorServerConfig } from './installation.js';
export { createAccountKeys, encodeTenantAccount } from './tenant-account.js';
export type { AccountKeys, TenantAccount } from './tenant-account.js';
export { createUserCredentials } from './user-credentials.js';
export type { UserCredentials, UserOptions } from './user-credentials.js';
