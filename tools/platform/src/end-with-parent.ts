/**
 * Loaded before a program that another one starts with a channel to it: when that other is gone, however it ended, so is
 * this. It works where the kernel has no death signal, and the program itself knows nothing of it.
 */
process.on('disconnect', () => process.exit(1));
// Whether there is still something to do is the program's affair.
process.channel?.unref();
