/** What differs from run to run, made the same: ids, moments, durations, ports, and where the bars lie in time. */
export function normalised(text: string): string {
  return text
    .trimEnd()
    .replace(/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g, '0190…')
    .replace(/^(version +)[0-9a-f]{32}$/gm, '$1c0de…')
    .replace(/\b[0-9a-f]{32}\b/g, '4bf9…')
    .replace(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, '2030-01-31T12:00:00.000Z')
    .replace(/127\.0\.0\.1:\d+/g, '127.0.0.1:3000')
    .replace(/\|[ ·█▒]+\|/g, (bar) => `|${bar.trim().slice(1, -1).trim().charAt(0).repeat(8)}|`)
    .replace(/^((?:queued|took) +)\S+ \S+$/gm, '$1… ms')
    .replace(/(\| {2}\w+ *) {2}[\d.]+ (?:ms|s|min|h)/g, '$1  … ms');
}
