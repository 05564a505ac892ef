/** The tables of values in the chart's README, from the comments of values.yaml. Pure. */
import { isMap, isScalar, parseDocument } from 'yaml';
import type { Pair, YAMLMap } from 'yaml';

interface Row {
  path: string;
  value: string;
  text: string;
}

export interface Section {
  name: string;
  text: string;
  rows: Row[];
}

/** One for each value at the top that has values below it, and before them one of those that have none. */
export function sectionsOf(values: string): Section[] {
  const { contents } = parseDocument(values);
  if (!isMap(contents)) throw new Error('values.yaml is no map');
  const general: Section = { name: '', text: '', rows: [] };
  const sections = [general];
  for (const { key, text, pair } of entriesOf(contents, true)) {
    if (!hasValues(pair)) general.rows.push(rowOf(key, text, pair));
    else sections.push({ name: key, text, rows: rowsBelow(`${key}.`, pair.value as YAMLMap) });
  }
  return sections;
}

export function tableOf({ name, text, rows }: Section): string {
  const head = name === '' ? [] : [`### ${name}`, '', ...(text === '' ? [] : [text, ''])];
  const lines = rows.map(({ path, value, text: meaning }) => `| \`${path}\` | \`${value}\` | ${meaning} |`);
  return [...head, '| value | default | |', '|---|---|---|', ...lines].join('\n');
}

function rowsBelow(prefix: string, map: YAMLMap): Row[] {
  return entriesOf(map, false).flatMap(({ key, text, pair }) => {
    const path = `${prefix}${key}`;
    // What has a comment of its own as a whole, and none below, is one value.
    const isWhole = text !== '' && !hasCommentsBelow(pair);
    return hasValues(pair) && !isWhole
      ? rowsBelow(`${path}.`, pair.value as YAMLMap)
      : [rowOf(path, text, pair)];
  });
}

interface Entry {
  key: string;
  text: string;
  pair: Pair;
}

function entriesOf(map: YAMLMap, isRoot: boolean): Entry[] {
  return map.items.map((pair, index) => {
    const key = pair.key as { value: string; commentBefore?: string | null };
    // The comment before the first key belongs to the map itself in this notation.
    const before = index === 0 ? (key.commentBefore ?? map.commentBefore) : key.commentBefore;
    const text = before ?? '';
    // The head of the file is no value's.
    const own = isRoot ? text.slice(text.lastIndexOf('\n\n') + 1) : text;
    return { key: key.value, text: inOneLine(own), pair };
  });
}

function rowOf(path: string, text: string, { value }: Pair): Row {
  if (text === '') throw new Error(`values.yaml: ${path} has no comment`);
  const plain: unknown = isScalar(value) ? value.value : (value as YAMLMap).toJSON();
  return { path, value: JSON.stringify(plain).replaceAll('|', '\\|'), text: text.replaceAll('|', '\\|') };
}

function hasValues({ value }: Pair): boolean {
  return isMap(value) && value.items.length > 0;
}

function hasCommentsBelow({ value }: Pair): boolean {
  return isMap(value) && entriesOf(value, false).some(({ text }) => text !== '');
}

function inOneLine(comment: string): string {
  return comment
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '')
    .join(' ');
}
