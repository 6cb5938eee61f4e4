import { createHash } from 'node:crypto';
import {
  appendFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
} from 'node:fs';
import { homedir, hostname } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import type { HopxClient } from '../client/hopx-client.ts';
import type { Fingerprint, Journal } from '../client/journal.ts';
import type { Call } from '../contract/call.ts';
import type { Log } from '../log.ts';

/** The journal of one server, and what others like it left. */
export type Ledger = Journal & {
  /** Marks what this process creates. */
  owner: string;
  /** Deletes what servers of the same account left that are dead; never what a live one or another program owns. */
  reap(client: Pick<HopxClient, 'deleteSandbox' | 'sweep'>, newCall: () => Call): Promise<number>;
  /** Whether dead servers of this machine have left files to look at. */
  hasLeftovers(): boolean;
  /** The session is over; without anything left of it its file goes too. */
  close(): void;
};

type LedgerOptions = {
  /** Which account the sandboxes belong to; only its hash is written. */
  account: { baseUrl: string; apiKey: string };
  owner: string;
  /** Sandboxes outlive the server on purpose: then nothing is written, and nothing is reaped. */
  keepOnExit: boolean;
  folder?: string;
  /** Where process ids mean the same: two containers may share a home folder. */
  machine?: string;
  pid?: number;
  /** When a process started, in any unit that tells two with the same pid apart; undefined for a dead one. */
  startOf?: (pid: number) => string | undefined;
  now?: () => number;
  log: Log;
};

/** The longest lifetime a sandbox of ours can have; what is older has ended by itself. */
const MAX_LIFETIME_MS = (86_400 + 300) * 1_000;

const fingerprint = z.object({ timeoutSeconds: z.number(), template: z.string(), sinceMs: z.number() });
const entry = z.discriminatedUnion('event', [
  z.object({ event: z.literal('opened'), owner: z.string(), account: z.string(), machine: z.string() }),
  z.object({ event: z.literal('intended'), intent: fingerprint }),
  z.object({ event: z.literal('created'), intent: fingerprint, sandboxId: z.string() }),
  z.object({ event: z.literal('dropped'), intent: fingerprint }),
  z.object({ event: z.literal('deleted'), sandboxId: z.string() }),
]);
type Entry = z.output<typeof entry>;

const fileName = /^(\d+)-([^-]+)-([0-9a-f-]+)\.jsonl$/;

/** Which sandboxes are ours, on disk, so that the next server finds what a killed one left. */
export function createLedger({
  account,
  owner,
  keepOnExit,
  folder = stateFolder(process.env),
  machine = thisMachine(),
  pid = process.pid,
  startOf = processStart,
  now = Date.now,
  log,
}: LedgerOptions): Ledger {
  const accountHash = createHash('sha256')
    .update(`${account.baseUrl} ${account.apiKey}`)
    .digest('hex')
    .slice(0, 16);
  const name = (id: string) => join(folder, `${pid}-${startOf(pid) ?? 'unknown'}-${id}.jsonl`);
  const file = name(owner);
  const left = new Set<string>();
  let isOpen = false;
  let isBroken = keepOnExit;

  const write = (line: Entry) => {
    if (isBroken) return;
    try {
      if (!isOpen) {
        mkdirSync(folder, { recursive: true, mode: 0o700 });
        isOpen = true;
        write({ event: 'opened', owner, account: accountHash, machine });
      }
      appendFileSync(file, `${JSON.stringify(line)}\n`, { mode: 0o600 });
    } catch (error) {
      isBroken = true;
      log.warn('the ledger cannot be written; after a crash only lifetimes clean up', {
        folder,
        error: String(error),
      });
    }
  };

  const keyOf = ({ timeoutSeconds, template, sinceMs }: Fingerprint) =>
    `${timeoutSeconds} ${template} ${sinceMs}`;

  const isDead = (found: string): boolean => {
    const [, otherPid, otherStart] = fileName.exec(found) ?? [];
    return otherPid !== undefined && startOf(Number(otherPid)) !== otherStart;
  };

  /** Renaming is atomic: of two servers that start at once, one gets the file. */
  const claim = (found: string): string | undefined => {
    const id = fileName.exec(found)?.[3];
    if (id === undefined || !isDead(found)) return undefined;
    const claimed = name(id);
    try {
      const opened = parse(readFileSync(join(folder, found), 'utf8'))[0];
      const isOurs =
        opened?.event === 'opened' && opened.account === accountHash && opened.machine === machine;
      if (!isOurs) return undefined;
      renameSync(join(folder, found), claimed);
      return claimed;
    } catch {
      return undefined;
    }
  };

  const clean = async (claimed: string, client: Parameters<Ledger['reap']>[0], newCall: () => Call) => {
    const entries = parse(readFileSync(claimed, 'utf8'));
    const opened = entries.find((line) => line.event === 'opened');
    const { sandboxes, intents } = leftovers(entries, keyOf);
    let deleted = 0;
    for (const sandboxId of sandboxes) {
      if (!(await client.deleteSandbox(sandboxId, newCall())).alreadyGone) deleted += 1;
    }
    for (const intent of intents) {
      if (now() - intent.sinceMs > MAX_LIFETIME_MS || opened === undefined) continue;
      deleted += await client.sweep(intent, opened.owner, newCall());
    }
    rmSync(claimed, { force: true });
    return deleted;
  };

  return {
    owner,
    intended(intent) {
      left.add(keyOf(intent));
      write({ event: 'intended', intent });
    },
    created(intent, sandboxId) {
      left.delete(keyOf(intent));
      left.add(sandboxId);
      write({ event: 'created', intent, sandboxId });
    },
    dropped(intent) {
      left.delete(keyOf(intent));
      write({ event: 'dropped', intent });
    },
    deleted(sandboxId) {
      if (left.delete(sandboxId)) write({ event: 'deleted', sandboxId });
    },
    hasLeftovers: () => listFolder(folder).some((found) => isDead(found)),
    async reap(client, newCall) {
      let deleted = 0;
      for (const found of listFolder(folder)) {
        const claimed = claim(found);
        if (claimed === undefined) continue;
        deleted += await clean(claimed, client, newCall).catch((error: unknown) => {
          // The file stays under our name and is found again when we are gone.
          log.warn('sandboxes of a dead server could not be deleted', { error: String(error) });
          return 0;
        });
      }
      if (deleted > 0) log.info('deleted sandboxes that a dead server had left', { count: deleted });
      return deleted;
    },
    close() {
      if (isOpen && left.size === 0) rmSync(file, { force: true });
    },
  };
}

function leftovers(entries: readonly Entry[], keyOf: (intent: Fingerprint) => string) {
  const sandboxes = new Set<string>();
  const intents = new Map<string, Fingerprint>();
  for (const line of entries) {
    if (line.event === 'intended') intents.set(keyOf(line.intent), line.intent);
    if (line.event === 'dropped' || line.event === 'created') intents.delete(keyOf(line.intent));
    if (line.event === 'created') sandboxes.add(line.sandboxId);
    if (line.event === 'deleted') sandboxes.delete(line.sandboxId);
  }
  return { sandboxes, intents: intents.values() };
}

/** A killed process may have left half a line; it is passed over. */
function parse(text: string): Entry[] {
  return text.split('\n').flatMap((line) => {
    try {
      return entry.safeParse(JSON.parse(line)).data ?? [];
    } catch {
      return [];
    }
  });
}

function listFolder(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

/** The XDG state folder, where programs keep what should survive a restart. */
export function stateFolder(env: Readonly<Record<string, string | undefined>>): string {
  return join(env['XDG_STATE_HOME'] || join(homedir(), '.local', 'state'), 'hopx-sandbox-mcp');
}

function thisMachine(): string {
  try {
    return `${hostname()} ${readlinkSync('/proc/self/ns/pid')}`;
  } catch {
    return hostname();
  }
}

/** On Linux the kernel's start time of a process; elsewhere only whether it lives. */
export function processStart(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The name, in parentheses, may hold spaces; the start time is the 20th field after it.
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
  } catch {
    return process.platform === 'linux' ? undefined : livesElsewhere(pid);
  }
}

function livesElsewhere(pid: number): string | undefined {
  try {
    process.kill(pid, 0);
    return 'unknown';
  } catch {
    return undefined;
  }
}
