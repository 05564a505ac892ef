/** `ironflow.yaml`, read and written. */
import { LineCounter, parseDocument, stringify } from 'yaml';
import { describeIssue, settingsSchema } from '@ironflow/schema';
import type { Settings } from '@ironflow/schema';

/** Throws with the place and the rule; `name` is what the text is called. */
export function parseSettings(text: string, name: string): Settings {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const [problem] = document.errors;
  if (problem !== undefined) {
    const { line, col } = lines.linePos(problem.pos[0]);
    throw new Error(`${name}:${line}:${col}: ${problem.message}`);
  }
  const parsed = settingsSchema.safeParse(document.toJS());
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const { field, message } = describeIssue(issue!);
  // The nearest place above that the text has.
  const path = [...issue!.path];
  while (path.length > 0 && !document.hasIn(path)) path.pop();
  const node = document.getIn(path, true);
  const offset = hasRange(node) ? node.range[0] : 0;
  const { line, col } = lines.linePos(offset);
  throw new Error(`${name}:${line}:${col}: ${field === '' ? '' : `${field} `}${message}`);
}

export function formatSettings(settings: Settings): string {
  // Sections with nothing in them say nothing, but would be pruned.
  const sections = Object.entries(settings).filter(
    ([, section]) => typeof section !== 'object' || Object.keys(section).length > 0,
  );
  return stringify(Object.fromEntries(sections), { lineWidth: 0 });
}

function hasRange(node: unknown): node is { range: [number, number, number] } {
  return typeof node === 'object' && node !== null && 'range' in node && Array.isArray(node.range);
}
