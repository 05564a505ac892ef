export { createBackup } from './backup/create-backup.js';
export type { CreateBackupOptions } from './backup/create-backup.js';
export type { OnProgress, Progress } from './backup/progress.js';
export { restoreBackup } from './backup/restore-backup.js';
export type { RestoreBackupOptions, RestoredStream } from './backup/restore-backup.js';
export { verifyBackup } from './backup/verify-backup.js';
export type { VerifyBackupOptions } from './backup/verify-backup.js';
export { diagnoseInstallation } from './doctor/diagnose-installation.js';
export type { Finding } from './doctor/finding.js';
