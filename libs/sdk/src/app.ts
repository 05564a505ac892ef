/** An app: its id and functions, as they are registered and looked up. */
import { appManifestSchema, describeIssue } from '@ironflow/schema';
import type { AppManifest } from '@ironflow/schema';
import { ConfigurationError } from './configuration-error.js';
import type { IronflowFunction } from './function.js';
import { sdkName } from './version.js';

export interface AppOptions {
  /** The app's id: 1 to 128 of A-Z, a-z, 0-9, "_" and "-". */
  app: string;
  functions: readonly IronflowFunction[];
}

export function functionsById(options: AppOptions): ReadonlyMap<string, IronflowFunction> {
  const byId = new Map<string, IronflowFunction>();
  for (const definition of allOf(options)) {
    if (byId.has(definition.id)) {
      throw new ConfigurationError(`functions: "${definition.id}" is given twice`, 'functions');
    }
    byId.set(definition.id, definition);
  }
  return byId;
}

/** With those that are called for failures of others. */
function allOf({ functions }: AppOptions): IronflowFunction[] {
  return functions.flatMap((definition) => [
    definition,
    ...(definition.onFailure ? [definition.onFailure] : []),
  ]);
}

/** Throws a ConfigurationError that names the field. */
export function manifestOf(
  options: AppOptions & { url?: string | undefined; signedAnswers?: boolean | undefined },
): AppManifest {
  const parsed = appManifestSchema.safeParse({
    id: options.app,
    ...(options.url === undefined ? { mode: 'pull' } : { mode: 'push', url: options.url }),
    sdk: sdkName,
    ...(options.signedAnswers === true && options.url !== undefined ? { signedAnswers: true } : {}),
    functions: allOf(options).map(({ config }) => config),
  });
  if (parsed.success) return parsed.data;
  const issue = describeIssue(parsed.error.issues[0]!);
  const field = issue.field === 'id' ? 'app' : issue.field;
  throw new ConfigurationError(`${field}: ${issue.message}`, field);
}
