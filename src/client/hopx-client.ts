import type { Call } from '../contract/call.ts';
import { SandboxFailure } from '../contract/failures.ts';
import {
  type CreateRequest,
  type ExecuteReply,
  type ExecuteRequest,
  executeReply,
  listReply,
  type SandboxReply,
  sandboxReply,
  tokenReply,
} from '../contract/hopx.ts';
import type { Log } from '../log.ts';
import { createCredentials } from './credentials.ts';
import { createGovernor } from './governor.ts';
import { createLane } from './lane.ts';
import { createPerform, type GovernedLane } from './perform.ts';
import { createTransport } from './transport.ts';

/** A run as the API told it; status and request id are what HopX support asks for. */
export type Ran = { reply: ExecuteReply; httpStatus: number; requestId?: string };

export type HopxClient = {
  createSandbox(request: CreateRequest, call: Call): Promise<SandboxReply>;
  getSandbox(sandboxId: string, call: Call): Promise<SandboxReply>;
  listSandboxes(call: Call): Promise<SandboxReply[]>;
  /** `alreadyGone` when the first thing heard of the sandbox is that it does not exist. */
  deleteSandbox(sandboxId: string, call: Call): Promise<{ alreadyGone: boolean }>;
  /** A finished run, whatever its exit code. The run is given up when `call.signal` aborts. */
  execute(sandboxId: string, request: ExecuteRequest, call: Call): Promise<Ran>;
  writeFile(sandboxId: string, path: string, content: string, call: Call): Promise<void>;
  close(): Promise<void>;
};

/** Requests a minute; Infinity where the server sets no limit. */
export type Rates = { control: number; create: number; agent: number };

/** HopX's documented rates (DOC rate-limits); its headers overrule them. */
export const hopxRates: Rates = { control: 100, create: 20, agent: 300 };
export const unlimitedRates: Rates = { control: Infinity, create: Infinity, agent: Infinity };

type HopxClientOptions = {
  baseUrl: string;
  apiKey: string;
  socketPath?: string | undefined;
  rates?: Rates;
  maxConcurrency?: number;
  log: Log;
  onSecret?: (secret: string) => void;
};

const MINUTE_MS = 60_000;
/** What the client does for itself, such as renewing a token, may take so long. */
const OWN_CALL_MS = 20_000;
const PAGE_SIZE = 100;
/** More sandboxes than any documented quota; a server that pages for ever must not hold a call. */
const MAX_PAGES = 20;

/** The queued client: every operation through its lane, at most once where it runs code. */
export function createHopxClient({
  baseUrl,
  apiKey,
  socketPath,
  rates = hopxRates,
  maxConcurrency = 8,
  log,
  onSecret = () => {},
}: HopxClientOptions): HopxClient {
  const controlPlane = new URL(baseUrl);
  const transport = createTransport({ socketPath });
  const closing = new AbortController();

  const governed = (limit: number, reserveShare = 0): GovernedLane => {
    const governor = createGovernor({ limit, windowMs: MINUTE_MS, reserveShare });
    return { governor, lane: createLane({ governor, concurrency: maxConcurrency }) };
  };
  const control = governed(rates.control, 0.05);
  const create = governed(rates.create);
  const agents = new Map<string, GovernedLane>();
  const agentLane = (sandboxId: string) => {
    const lane = agents.get(sandboxId) ?? governed(rates.agent);
    agents.set(sandboxId, lane);
    return lane;
  };

  const ownCall = (): Call => ({
    signal: closing.signal,
    deadlineMs: performance.now() + OWN_CALL_MS,
    progress() {},
    stats: { attempts: 0, queuedMs: 0 },
  });

  const credentials = createCredentials({
    controlPlane,
    onSecret,
    renew: async (sandboxId) => parse(tokenReply, await perform('refreshToken', { sandboxId }, ownCall())),
    lookUp: async (sandboxId) => parse(sandboxReply, await perform('getSandbox', { sandboxId }, ownCall())),
  });

  const perform = createPerform({
    controlPlane,
    apiKey,
    transport,
    credentials,
    log,
    laneFor: (operation, sandboxId) => {
      if (operation.lane === 'agent') return agentLane(sandboxId);
      return operation.lane === 'create' ? create : control;
    },
  });

  const forget = (sandboxId: string) => {
    credentials.forget(sandboxId);
    agents.get(sandboxId)?.lane.close();
    agents.delete(sandboxId);
  };

  const deleteSandbox = async (sandboxId: string, call: Call) => {
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

  const deleteOrphan = (body: unknown) => {
    const orphan = sandboxReply.safeParse(body).data;
    if (orphan === undefined) return;
    log.info('deleting a sandbox that nobody waits for any more', { sandbox_id: orphan.id });
    deleteSandbox(orphan.id, ownCall()).catch((error: unknown) => {
      log.warn('an abandoned sandbox was not deleted; its lifetime ends it', {
        sandbox_id: orphan.id,
        error: String(error),
      });
    });
  };

  return {
    async createSandbox(request, call) {
      const reply = await perform('createSandbox', { body: request, onOrphan: deleteOrphan }, call);
      const sandbox = parse(sandboxReply, reply);
      credentials.remember(sandbox);
      return sandbox;
    },
    async getSandbox(sandboxId, call) {
      return parse(sandboxReply, await perform('getSandbox', { sandboxId }, call));
    },
    async listSandboxes(call) {
      const found: SandboxReply[] = [];
      let cursor: string | undefined;
      for (let page = 0; page < MAX_PAGES; page += 1) {
        const query = { limit: String(PAGE_SIZE), ...(cursor !== undefined && { cursor }) };
        const reply = parse(listReply, await perform('listSandboxes', { query }, call));
        found.push(...reply.data);
        if (!reply.has_more || !reply.next_cursor || reply.next_cursor === cursor) break;
        cursor = reply.next_cursor;
      }
      return found;
    },
    deleteSandbox,
    async execute(sandboxId, request, call) {
      const runMs = (request.timeout ?? 0) * 1000;
      const result = await perform('execute', { sandboxId, body: request, runMs }, call);
      const { status: httpStatus, requestId } = result;
      const reply = parse(executeReply, result, 'performed');
      return { reply, httpStatus, ...(requestId !== undefined && { requestId }) };
    },
    async writeFile(sandboxId, path, content, call) {
      await perform('writeFile', { sandboxId, body: { path, content, overwrite: true } }, call);
    },
    async close() {
      closing.abort();
      for (const { lane } of [control, create, ...agents.values()]) lane.close();
      await transport.close();
    },
  };
}

type Schema<T> = {
  safeParse(value: unknown): { success: true; data: T } | { success: false; error: { message: string } };
};

function parse<T>(
  schema: Schema<T>,
  { status, body }: { status: number; body: unknown },
  outcome: 'performed' | 'unknown' = 'unknown',
): T {
  const parsed = schema.safeParse(body);
  if (parsed.success) return parsed.data;
  throw new SandboxFailure('INVALID_RESPONSE', { httpStatus: status, outcome, cause: parsed.error });
}

function isGone(error: unknown): error is SandboxFailure {
  return (
    error instanceof SandboxFailure &&
    (error.code === 'RESOURCE_NOT_FOUND' || error.code === 'SANDBOX_EXPIRED')
  );
}
