/** A process of its own: takes spans and forgets them, as the nearest collector would, or adds them to the file SPANS_FILE. */
import { createWriteStream, mkdirSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { dirname } from 'node:path';

const path = process.env['SPANS_FILE'];
if (path !== undefined) mkdirSync(dirname(path), { recursive: true });
const file = path === undefined ? undefined : createWriteStream(path, { flags: 'a' });

const server = createServer((request, response) => {
  if (file === undefined) request.resume();
  else request.on('data', (chunk: Buffer) => file.write(chunk));
  request.on('end', () => response.writeHead(200, { 'content-type': 'application/json' }).end('{}'));
});
server.listen(0, '127.0.0.1', () => {
  process.send?.({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` });
});
