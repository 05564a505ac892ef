/** What the options of both programs must look like; commander says in one line what is wrong. */
import { InvalidArgumentError } from 'commander';

export function wholeNumber(from: number, to: number): (text: string) => number {
  return (text) => {
    const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
    if (value >= from && value <= to) return value;
    throw new InvalidArgumentError(`It must be a whole number from ${from} to ${to}.`);
  };
}

export function wholeNumbers(from: number, to: number): (text: string) => number[] {
  return (text) => text.split(',').map(wholeNumber(from, to));
}

export function namesOf(known: readonly string[]): (text: string) => string[] {
  return (text) => {
    const names = text.split(',');
    const unknown = names.filter((name) => !known.includes(name));
    if (unknown.length === 0) return names;
    throw new InvalidArgumentError(`There is no ${unknown.join(', no ')}.`);
  };
}
