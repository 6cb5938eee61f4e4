import { randomUUID } from 'node:crypto';
import { setMaxListeners } from 'node:events';
import type { z } from 'zod';
import { type Call, ownCall } from '../contract/call.ts';
import { isGone } from '../contract/failures.ts';
import {
  listReply,
  type SandboxReply,
  sandboxReply,
  type TimedCreateRequest,
  tokenReply,
} from '../contract/hopx.ts';
import type { Log } from '../log.ts';
import { type AgentClient, createAgentClient, type Streaming } from './agent-client.ts';
import { createCreation } from './creation.ts';
import { createCredentials } from './credentials.ts';
import { type Fingerprint, type Journal, noJournal } from './journal.ts';
import { createLanes, hopxRates, type Rates } from './lanes.ts';
import type { OperationName } from './operations.ts';
import { createPerform, type Request } from './perform.ts';
import { matches, parseReply } from './reply-schema.ts';
import { createRetryBudget } from './retry-budget.ts';
import { createTransport } from './transport.ts';

export type HopxClient = AgentClient & {
  /** Exactly one sandbox, also when the answer is lost: it is looked for, adopted, or made again. */
  createSandbox(request: TimedCreateRequest, call: Call): Promise<SandboxReply>;
  listSandboxes(call: Call): Promise<SandboxReply[]>;
  /** `alreadyGone` when the first thing heard of the sandbox is that it does not exist. */
  deleteSandbox(sandboxId: string, call: Call): Promise<{ alreadyGone: boolean }>;
  /** Deletes what a create of a dead server left behind, where it can be told for certain. */
  sweep(intent: Fingerprint, owner: string, call: Call): Promise<number>;
  /** Waits for creates in flight, so that none is lost, then lets everything go. */
  close(): Promise<void>;
};

type HopxClientOptions = {
  baseUrl: string;
  apiKey: string;
  socketPath?: string | undefined;
  rates?: Rates;
  streaming?: Streaming;
  maxConcurrency?: number;
  /** Marks what this process creates. */
  owner?: string;
  journal?: Journal;
  log: Log;
  onSecret?: (secret: string) => void;
  /** For waits between attempts and looks; with a clock of its own a test need not wait. */
  sleep?: (ms: number, signal: AbortSignal) => Promise<unknown>;
};

/** What the client does for itself, such as renewing a token: a try, and another after a fault. */
const OWN_CALL_MS = 20_000;
/** Leaving is not held up longer than this by creates that do not answer; the server has 9 s for all of its end. */
const SETTLE_MS = 6_000;
/** The most that every version of the API gives in one page. */
const PAGE_SIZE = 100;
/** More sandboxes than any documented quota; a server that pages for ever must not hold a call. */
const MAX_PAGES = 20;

/** The queued client: every operation through its lane, at most once where it runs code. */
export function createHopxClient({
  baseUrl,
  apiKey,
  socketPath,
  rates = hopxRates,
  streaming = 'socket',
  maxConcurrency = 8,
  owner = randomUUID(),
  journal = noJournal,
  log,
  onSecret = () => {},
  sleep,
}: HopxClientOptions): HopxClient {
  const controlPlane = new URL(baseUrl);
  const transport = createTransport({ socketPath });
  const lanes = createLanes(rates, maxConcurrency);
  const closing = new AbortController();
  // All of the client's own calls listen to it.
  setMaxListeners(0, closing.signal);
  const deletions = new Set<Promise<unknown>>();
  let skewMs = 0;

  const background = () => ownCall(OWN_CALL_MS, closing.signal);

  const credentials = createCredentials({
    controlPlane,
    onSecret,
    renew: (sandboxId) => ask(tokenReply, 'refreshToken', { sandboxId }, background()),
    lookUp: (sandboxId) => getSandbox(sandboxId, background()),
  });

  const perform = createPerform({
    controlPlane,
    apiKey,
    transport,
    credentials,
    laneFor: lanes.of,
    budget: createRetryBudget(),
    log,
    onSkew: (ms) => {
      skewMs = ms;
    },
    ...(sleep !== undefined && { sleep }),
  });

  const ask = async <T>(
    schema: z.ZodType<T>,
    name: OperationName,
    request: Request,
    call: Call,
  ): Promise<T> => parseReply(schema, await perform(name, { ...request, isReply: matches(schema) }, call));

  const getSandbox = (sandboxId: string, call: Call) => ask(sandboxReply, 'getSandbox', { sandboxId }, call);

  const listAll = async (
    operation: 'listSandboxes' | 'findSandboxes',
    call: Call,
  ): Promise<SandboxReply[]> => {
    const found: SandboxReply[] = [];
    let cursor: string | undefined;
    for (let page = 0; page < MAX_PAGES; page += 1) {
      const query = { limit: String(PAGE_SIZE), ...(cursor !== undefined && { cursor }) };
      const reply = await ask(listReply, operation, { query }, call);
      found.push(...reply.data);
      if (!reply.has_more || !reply.next_cursor || reply.next_cursor === cursor) break;
      cursor = reply.next_cursor;
    }
    return found;
  };

  const forget = (sandboxId: string) => {
    journal.deleted(sandboxId);
    credentials.forget(sandboxId);
    lanes.drop(sandboxId);
  };

  const deleteOnce = async (sandboxId: string, call: Call) => {
    try {
      await perform('deleteSandbox', { sandboxId }, call);
      forget(sandboxId);
      return { alreadyGone: false };
    } catch (error) {
      if (!isGone(error)) throw error;
      forget(sandboxId);
      // After a lost answer "not found" is what our own first attempt did.
      return { alreadyGone: error.facts.attempts === 1 };
    }
  };

  const deleteSandbox = (sandboxId: string, call: Call) => {
    const deletion = deleteOnce(sandboxId, call);
    const settled: Promise<unknown> = deletion.catch(() => {}).finally(() => deletions.delete(settled));
    deletions.add(settled);
    return deletion;
  };

  const creation = createCreation({
    owner,
    journal,
    perform,
    ownCall: background,
    log,
    serverNow: () => Date.now() + skewMs,
    ...(sleep !== undefined && { sleep }),
    sandboxes: {
      list: (call) => listAll('findSandboxes', call),
      get: getSandbox,
      delete: deleteSandbox,
    },
    accept: credentials.remember,
    deletions,
  });

  return {
    createSandbox: creation.create,
    listSandboxes: (call) => listAll('listSandboxes', call),
    deleteSandbox,
    ...createAgentClient(perform, streaming),
    sweep: creation.sweep,
    async close() {
      const { promise: late, cancel } = after(SETTLE_MS);
      await Promise.race([creation.settle(), late]);
      cancel();
      closing.abort();
      lanes.close();
      await transport.close();
    },
  };
}

function after(ms: number): { promise: Promise<void>; cancel(): void } {
  let cancel = () => {};
  const promise = new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, ms);
    cancel = () => clearTimeout(timer);
  });
  return { promise, cancel };
}
