/** What `ironflow --version` says. A test holds it to package.json. */
export const cliVersion = '0.1.0';
