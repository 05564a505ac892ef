/** What is wrong with an installation's NATS servers, from what they are like. Pure. */
import type { JetStreamInspection, NatsInspection, NatsServerFacts } from '@ironflow/jetstream';
import { natsVersionMinimum, streams } from '@ironflow/schema';
import type { StreamName } from '@ironflow/schema';
import { fail, findingsOf, listed, note } from './finding.js';
import type { Finding, Problem } from './finding.js';

export interface NatsContext {
  /** As configured. */
  urls: string;
  /** IRONFLOW_STREAM_REPLICAS. */
  replicas: number;
}

type Connected = Extract<NatsInspection, { kind: 'connected' }>;
type Available = Extract<JetStreamInspection, { jetstream: 'available' }>;

export function natsFindings(inspection: NatsInspection, context: NatsContext): Finding[] {
  if (inspection.kind !== 'connected') return findingsOf('nats', [fail(whyNot(inspection, context))], '');
  const { server } = inspection;
  const where = server.cluster === undefined ? 'by itself' : `${server.servers} in cluster ${server.cluster}`;
  const connected = findingsOf(
    'nats',
    [...versionProblems(server), ...replicaProblems(server, context)],
    `nats-server ${server.version}, ${where}`,
  );
  if (inspection.jetstream === 'unavailable') {
    return [...connected, ...findingsOf('jetstream', [fail(whyNoJetStream(inspection))], '')];
  }
  return [
    ...connected,
    ...findingsOf('jetstream', storageProblems(inspection), 'messages are stored'),
    ...findingsOf('streams', streamProblems(inspection), `${inspection.streams.length} as they are wanted`),
  ];
}

function whyNot({ kind, why }: Exclude<NatsInspection, Connected>, { urls }: NatsContext): string {
  if (kind === 'refused') {
    return `${urls} refuses the credentials (${why}): NATS_USER and NATS_PASSWORD, NATS_TOKEN or NATS_CREDS_FILE are not what the servers ask for, or are not valid any more`;
  }
  if (kind === 'untrusted') {
    return `no TLS connection to ${urls} comes about (${why}): NATS_TLS_CA_FILE has to be the authority of the servers’ certificate, and NATS_TLS_CERT_FILE with NATS_TLS_KEY_FILE one that they know if they ask for it`;
  }
  return `${urls} cannot be reached (${why}): is a nats-server running there, and does the network let this machine through?`;
}

function versionProblems({ version }: NatsServerFacts): Problem[] {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const [majorMinimum, minorMinimum] = natsVersionMinimum;
  if (major > majorMinimum || (major === majorMinimum && minor >= minorMinimum)) return [];
  return [fail(`nats-server ${version} is too old: upgrade it to ${natsVersionMinimum.join('.')} or newer`)];
}

function replicaProblems({ cluster, servers }: NatsServerFacts, { replicas }: NatsContext): Problem[] {
  if (replicas === 1) {
    if (cluster === undefined) return [];
    return [
      note(
        'IRONFLOW_STREAM_REPLICAS is 1 in a cluster: a server that is away takes its streams with it; 3 keeps them',
      ),
    ];
  }
  if (cluster === undefined) {
    return [
      fail(
        `IRONFLOW_STREAM_REPLICAS is ${replicas}, and the server is by itself: start ${replicas} of them as one cluster, or set it to 1`,
      ),
    ];
  }
  if (servers >= replicas) return [];
  const told = `IRONFLOW_STREAM_REPLICAS is ${replicas}, and the cluster tells of ${servers}`;
  return [note(`${told}: either some are away, or they do not advertise themselves (no_advertise)`)];
}

/** By the codes of JetStream, where it has any. */
function whyNoJetStream({ server, why }: Connected & { jetstream: 'unavailable' }): string {
  if (why.includes('10008')) {
    return `JetStream answers “${why}”: the cluster has no leader, as more than half of its servers are away; bring them back`;
  }
  if (why.includes('10039') && server.hasJetStream) {
    return `JetStream is not enabled for the account that these credentials are of (${why}): enable it in the servers’ configuration`;
  }
  return (
    `the server ${server.name} has no JetStream (${why}): turn it on in its configuration (a block jetstream, or -js). If it is on there, the server ` +
    'has turned it off itself, as its disk is full: its log says “will be DISABLED”; make room, and restart it'
  );
}

const fullShare = 0.9;

function storageProblems({ storage, streams: wanted, probe }: Available): Problem[] {
  const problems: Problem[] = [];
  if (probe.kind === 'not_stored') problems.push(fail(whyNotStored(probe.why)));
  const promised = wanted.reduce((sum, { maxBytes }) => sum + maxBytes, 0);
  if (storage.usedBytes > storage.maxBytes * fullShare) {
    const share = Math.round((100 * storage.usedBytes) / storage.maxBytes);
    problems.push(fail(`${share} % of what the account may store is taken: raise its limit`));
  } else if (promised > storage.maxBytes) {
    const sizes = `${mebibytes(storage.maxBytes)}, and the platform’s streams may grow to ${mebibytes(promised)}`;
    problems.push(
      note(`the account may store ${sizes}: raise its limit, or lower maxBytes in IRONFLOW_STREAMS`),
    );
  }
  return problems;
}

function whyNotStored(why: string): string {
  if (/no space left/i.test(why)) {
    return `the disk of the nats-server is full (${why}): make room; if its log says “will be DISABLED”, restart it afterwards`;
  }
  // A server says no more than that to a client.
  if (why.includes('10049')) {
    return `JetStream cannot write its files (${why}): its disk is full, or its folder may not be written. Make room, and restart the server: a stream that could not be written takes nothing until then`;
  }
  if (/insufficient|resource|10047|10023/i.test(why)) {
    return `JetStream has no storage left to give (${why}): its disk is full or its max_file_store is promised to streams; make room or raise it`;
  }
  return `a message was not stored (${why}): the log of the nats-server says why`;
}

function mebibytes(bytes: number): string {
  return `${Math.round(bytes / 1024 ** 2)} MiB`;
}

function streamProblems({ streams: wanted, leaderless, lagging }: Available): Problem[] {
  if (wanted.every(({ isThere }) => !isThere)) {
    return [
      note('none of the platform’s streams is there: services make them as they start, and none has yet'),
    ];
  }
  const problems: Problem[] = [];
  const missing = wanted.filter(({ isThere }) => !isThere).map(({ name }) => name);
  if (missing.length > 0) {
    const remedy = 'a service makes them as it starts, and says in its log why it cannot';
    problems.push(fail(`${listed(missing)} ${missing.length === 1 ? 'is' : 'are'} missing: ${remedy}`));
  }
  const differing = wanted.filter((stream) => stream.differing.length > 0);
  if (differing.length > 0) {
    const each = differing.map(({ name, differing: fields }) => `${name} (${fields.join(', ')})`);
    const remedy =
      'restart a service with the IRONFLOW_STREAM_REPLICAS and IRONFLOW_STREAMS that are given here, or give those it has';
    problems.push(fail(`not as they are wanted: ${listed(each)}; ${remedy}`));
  }
  if (leaderless.length > 0) {
    problems.push(
      fail(`without a leader: ${listed(leaderless)}: most of their servers are away; bring them back`),
    );
  }
  if (lagging.length > 0) {
    const each = lagging.map(({ stream, replica }) => `${stream} on ${replica}`);
    problems.push(fail(`replicas that are away or behind: ${listed(each)}: look at those servers`));
  }
  return [...problems, ...wanted.flatMap(fullProblem)];
}

/** Of those that make no room by themselves. */
function fullProblem({ name, usedBytes, maxBytes }: Available['streams'][number]): Problem[] {
  const isRefusing = name in streams && streams[name as StreamName].whenFull === 'refuse';
  if (!isRefusing || maxBytes <= 0 || usedBytes < maxBytes * fullShare) return [];
  const share = Math.round((100 * usedBytes) / maxBytes);
  return [
    fail(`${name} is ${share} % full, and takes nothing once it is: do the services that read it run?`),
  ];
}
