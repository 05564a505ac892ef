/** What this SDK calls itself: `<language>/<version>`. A test holds it to package.json. */
export const sdkName = 'typescript/0.1.0';
