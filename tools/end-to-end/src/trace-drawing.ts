/** A trace as a tree in text. Times are left out, as they are others each time: an order is what is shown of them. */
import type { ReceivedSpan } from './otlp-receiver.js';

/** Of the spans below `rootSpanId`, which is somebody else's. */
export function drawTrace(spans: readonly ReceivedSpan[], rootSpanId: string): string {
  const lines: Line[] = [];
  for (const span of childrenOf(spans, rootSpanId)) addSpan(lines, spans, { span, first: '', below: '' });
  const width = (of: (line: Line) => string): number => Math.max(...lines.map((line) => of(line).length));
  const [treeWidth, serviceWidth] = [width(({ tree }) => tree), width(({ service }) => service)];
  return lines
    .map(({ tree, service, notes }) =>
      `${tree.padEnd(treeWidth)}  ${service.padEnd(serviceWidth)}  ${notes}`.trimEnd(),
    )
    .join('\n');
}

interface Line {
  tree: string;
  service: string;
  notes: string;
}

/** A span with what stands before it in its own line, and in those below. */
interface Place {
  span: ReceivedSpan;
  first: string;
  below: string;
}

function addSpan(lines: Line[], spans: readonly ReceivedSpan[], { span, first, below }: Place): void {
  lines.push({ tree: `${first}${span.name}`, service: span.service, notes: notesOf(span, spans) });
  const children = childrenOf(spans, span.spanId);
  for (const [index, child] of children.entries()) {
    const isLast = index === children.length - 1;
    const place = {
      span: child,
      first: `${below}${isLast ? '└─ ' : '├─ '}`,
      below: `${below}${isLast ? '   ' : '│  '}`,
    };
    addSpan(lines, spans, place);
    if (waitsForRetry(spans, child))
      lines.push({ tree: `${below}┆  (until the retry)`, service: '', notes: '' });
  }
}

/** In the order in which they began; of those that began together the longer is first, as it may be around the other. */
function childrenOf(spans: readonly ReceivedSpan[], spanId: string): ReceivedSpan[] {
  return spans
    .filter(({ parentSpanId }) => parentSpanId === spanId)
    .sort((a, b) => a.startMs - b.startMs || b.endMs - a.endMs);
}

function waitsForRetry(spans: readonly ReceivedSpan[], { spanId }: ReceivedSpan): boolean {
  return childrenOf(spans, spanId).some(
    ({ attributes }) => attributes['ironflow.step.status'] === 'retrying',
  );
}

const shown = ['ironflow.outcome', 'ironflow.step.status'];
const measured = ['ironflow.queue_ms'];

function notesOf({ attributes, links }: ReceivedSpan, spans: readonly ReceivedSpan[]): string {
  const textOf = (name: string): string[] => {
    const value = attributes[name];
    return typeof value === 'string' || typeof value === 'number' ? [`${value}`] : [];
  };
  return [
    ...shown.flatMap(textOf),
    ...textOf('ironflow.step.attempt').map((attempt) => `attempt ${attempt}`),
    ...textOf('error.type').map((type) => `error.type=${type}`),
    ...measured.flatMap((name) => textOf(name).map(() => `${name}=…`)),
    ...links.map(
      (spanId) => `link to ${spans.find((span) => span.spanId === spanId)?.name ?? 'another trace'}`,
    ),
  ].join(', ');
}
