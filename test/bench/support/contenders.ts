import { setTimeout as delay } from 'node:timers/promises';
import PQueue from 'p-queue';
import pRetry from 'p-retry';
import { Agent, type Dispatcher, RetryAgent, request } from 'undici';
import { createHopxClient } from '../../../src/client/hopx-client.ts';
import { type Rates, unlimitedRates } from '../../../src/client/lanes.ts';
import { SandboxFailure } from '../../../src/contract/failures.ts';
import { silentLog } from '../../../src/log.ts';
import { newCall } from '../../support/calls.ts';

/** What became of a call; `unknown` is a failure that says the code may have run. */
export type End = 'ok' | 'failed' | 'unknown';
export type Contender = { execute(code: string): Promise<End>; close(): Promise<void> };
export type Entry = { name: string; open(url: string): Contender };

/** The waits of others are those of HopX's minute; here a minute is 6 s. Ours are never scaled. */
const SCALE = 0.1;
/** As the product has it, so that no one wins by its connections. */
export const agentOptions: Agent.Options = { allowH2: false, connections: 64, keepAliveTimeout: 4_000 };

export const headers = {
  accept: 'application/json',
  authorization: 'Bearer token',
  'content-type': 'application/json',
};

/** One request as bare as can be. */
export async function post(dispatcher: Dispatcher, url: string, code: string) {
  const reply = await request(`${url}/vms/sbx1/execute`, {
    dispatcher,
    method: 'POST',
    headers,
    body: JSON.stringify({ code }),
  });
  const text = await reply.body.text();
  return { status: reply.statusCode, retryAfterMs: Number(reply.headers['retry-after'] ?? 0) * 1000, text };
}

type OursOptions = { rates?: Partial<Rates>; maxConcurrency?: number; budgetMs?: number };

/** The product's client; calls have `budgetMs` of real time. */
export function ours(name: string, { rates, maxConcurrency, budgetMs = 120_000 }: OursOptions = {}): Entry {
  return {
    name,
    open(url) {
      const client = createHopxClient({
        baseUrl: url,
        apiKey: 'hopx_live_bench.key',
        rates: { ...unlimitedRates, ...rates },
        log: silentLog,
        ...(maxConcurrency !== undefined && { maxConcurrency }),
      });
      return {
        async execute(code) {
          try {
            await client.execute('sbx1', { code }, newCall({ budgetMs }));
            return 'ok';
          } catch (error) {
            return error instanceof SandboxFailure && error.facts.outcome === 'unknown'
              ? 'unknown'
              : 'failed';
          }
        },
        close: client.close,
      };
    },
  };
}

function rival(name: string, make: (agent: Agent) => (url: string, code: string) => Promise<boolean>): Entry {
  return {
    name,
    open(url) {
      const agent = new Agent(agentOptions);
      const run = make(agent);
      return {
        execute: (code) =>
          run(url, code).then(
            (ok) => (ok ? 'ok' : 'failed'),
            () => 'failed',
          ),
        close: () => agent.destroy(),
      };
    },
  };
}

/** HopX's error page: again after 2^n s on 429 and from 500 on, whatever the method. */
export function sampleLoop(name: string, tries: number): Entry {
  return rival(name, (agent) => async (url, code) => {
    for (let nth = 0; nth < tries; nth += 1) {
      const reply = await post(agent, url, code).catch(() => undefined);
      if (reply?.status === 200) return true;
      // A longer wait than a minute helps no one who tries without end.
      if (nth + 1 < tries) await delay(Math.min(60_000, 1_000 * 2 ** nth) * SCALE);
    }
    return false;
  });
}

export const retryAgentAsIs: Entry = rival('undici RetryAgent', (agent) => {
  const retrying = new RetryAgent(agent);
  return async (url, code) => (await post(retrying, url, code)).status === 200;
});

export const retryAgentForPost: Entry = rival('RetryAgent + POST, 200 tries', (agent) => {
  const retrying = new RetryAgent(agent, {
    methods: ['POST'],
    maxRetries: 200,
    minTimeout: 500 * SCALE,
    maxTimeout: 30_000 * SCALE,
  });
  return async (url, code) => (await post(retrying, url, code)).status === 200;
});

export const pRetryWithHint: Entry = rival('p-retry + retry_after', (agent) => async (url, code) => {
  await pRetry(
    async () => {
      const { status, retryAfterMs } = await post(agent, url, code);
      if (status === 200) return;
      await delay(retryAfterMs);
      throw new Error(String(status));
    },
    { retries: 10, randomize: true, minTimeout: 1_000 * SCALE, maxTimeout: 60_000 * SCALE },
  );
  return true;
});

/** Knows the limit; who is refused all the same waits in its slot for as long as it is told. */
export function pQueueAlone(strict: boolean, limit: number, windowMs: number): Entry {
  return rival(`p-queue ${strict ? 'strict' : 'intervalCap'}`, (agent) => {
    const queue = new PQueue({ concurrency: 16, intervalCap: limit, interval: windowMs, strict });
    return (url, code) =>
      queue.add(async () => {
        for (;;) {
          const { status, retryAfterMs } = await post(agent, url, code);
          if (status !== 429) return status === 200;
          await delay(retryAfterMs);
        }
      });
  });
}

export type Race = { ends: Record<End, number>; ms: number; callsMs: readonly number[] };

/** All calls at once; what has not ended after `capMs` counts as failed. */
export async function race(contender: Contender, calls: number, capMs: number): Promise<Race> {
  const startedMs = performance.now();
  const ends: Record<End, number> = { ok: 0, failed: 0, unknown: 0 };
  const callsMs: number[] = [];
  const stop = new AbortController();
  const capped = delay(capMs, 'failed' as const, { signal: stop.signal }).catch(() => 'failed' as const);
  await Promise.all(
    Array.from({ length: calls }, async (_, index) => {
      const end = await Promise.race([contender.execute(`call ${index}`), capped]);
      ends[end] += 1;
      callsMs.push(performance.now() - startedMs);
    }),
  );
  const ms = performance.now() - startedMs;
  stop.abort();
  await contender.close();
  return { ends, ms, callsMs };
}
