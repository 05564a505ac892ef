/**
 * What a tenant with a NATS client tries on its neighbour. Each is worth something where tenants share an account and have
 * permissions for their subjects: the suite shows it there first.
 */
import { headers } from '@nats-io/transport-node';
import type { NatsConnection } from '@nats-io/transport-node';
import { subjects } from '@ironflow/schema';

export const attacker = { project: 'acme', env: 'prod' };
export const victim = { project: 'globex', env: 'prod' };
/** Of activations, from which the attacker may pull where it may at all. */
export const attackersConsumer = 'acme_prod';
export const attackersActivation = 'ironflow.acme.prod.steps.pull.app.function.run';

export interface Arena {
  /** With what a tenant is given. */
  attacker: NatsConnection;
  victim: NatsConnection;
  /** Subjects of what came to where events are taken, but for the attacker's own events. */
  landed(): Promise<string[]>;
}

export interface Forgery {
  what: string;
  /** Whether the victim was harmed. */
  attempt: (arena: Arena) => Promise<boolean>;
}

/** Long enough for a message to cross a server and come back. */
const settleMs = 500;
const settled = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, settleMs));

export const forgeries: Forgery[] = [
  {
    what: 'the acknowledgement of a message of one’s own is sent to where the neighbour emits',
    attempt: async (arena) => {
      const reply = subjects.ingest(victim, 'forged');
      arena.attacker.publish(subjects.ingest(attacker, 'bait'), '{}', { reply });
      return hasLanded(arena, reply);
    },
  },
  {
    // Under the subject that it had.
    what: 'an activation of one’s own, with data of one’s own, is pulled to where events are taken',
    attempt: async (arena) => {
      const reply = subjects.ingest(victim, 'forged');
      arena.attacker.publish(`$JS.API.CONSUMER.MSG.NEXT.STEPS.${attackersConsumer}`, '1', { reply });
      return hasLanded(arena, attackersActivation);
    },
  },
  {
    what: 'a message id of the neighbour is used up before it comes',
    attempt: async (arena) => {
      const taken = headers();
      taken.set('Nats-Msg-Id', 'order-7');
      const options = { headers: taken, timeout: 2_000 };
      await arena.attacker.request(subjects.ingest(attacker, 'bait'), '{}', options);
      await arena.victim.request(subjects.ingest(victim, 'order.placed'), '{}', options);
      return !(await hasLanded(arena, subjects.ingest(victim, 'order.placed')));
    },
  },
  {
    what: 'answers to the neighbour are listened to',
    attempt: async (arena) => {
      const overheard: string[] = [];
      arena.attacker.subscribe('_INBOX.>', {
        callback: (_error, message) => void overheard.push(message.subject),
      });
      await arena.attacker.flush();
      await arena.victim.request(subjects.ingest(victim, 'overheard'), '{}', { timeout: 2_000 });
      await settled();
      return overheard.length > 0;
    },
  },
];

async function hasLanded(arena: Arena, subject: string): Promise<boolean> {
  await arena.attacker.flush();
  await settled();
  return (await arena.landed()).includes(subject);
}
