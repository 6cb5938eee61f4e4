import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import type { Call } from '../contract/call.ts';
import { SandboxFailure } from '../contract/failures.ts';
import type { Log } from '../log.ts';
import type { Perform } from './perform.ts';
import { type Mark, OWNER_VARIABLE } from './reconcile.ts';
import { matches } from './reply-schema.ts';

export type Marks = {
  of(sandboxId: string, owner: string, call: Call): Promise<Mark>;
  /** Sees to it that a new sandbox carries our mark, also where the API drops what a create says of it. */
  ensure(sandboxId: string): Promise<void>;
};

type MarksOptions = {
  owner: string;
  perform: Perform;
  ownCall(): Call;
  log: Log;
  sleep?: (ms: number, signal: AbortSignal) => Promise<unknown>;
};

/** The first seconds of a sandbox are for what it was made for: asking counts against the same rate limit. */
const ASK_AFTER_MS = 5_000;

const envReply = z.looseObject({ env_vars: z.looseObject({ [OWNER_VARIABLE]: z.string().optional() }) });

/** The owner's mark on sandboxes: an environment variable, the only thing of ours that can be read back. */
export function createMarks({
  owner,
  perform,
  ownCall,
  log,
  sleep = (ms, signal) => delay(ms, undefined, { signal, ref: false }),
}: MarksOptions): Marks {
  /** Whether creates keep marks; asked once, of the first sandbox. */
  let areKept: Promise<boolean> | undefined;

  const read = async (sandboxId: string, call: Call): Promise<string | undefined> => {
    const { body } = await perform('readEnv', { sandboxId, isReply: matches(envReply) }, call);
    return envReply.parse(body).env_vars[OWNER_VARIABLE];
  };

  return {
    async of(sandboxId, wanted, call) {
      try {
        const found = await read(sandboxId, call);
        if (found !== undefined) return found === wanted ? 'ours' : 'foreign';
        return (await areKept?.catch(() => false)) ? 'foreign' : 'none';
      } catch (error) {
        const isGone = error instanceof SandboxFailure && error.code === 'RESOURCE_NOT_FOUND';
        if (isGone) return 'foreign';
        throw error;
      }
    },
    async ensure(sandboxId) {
      try {
        await sleep(ASK_AFTER_MS, ownCall().signal);
      } catch {
        return;
      }
      const asking = areKept ?? read(sandboxId, ownCall()).then((found) => found === owner);
      areKept = asking;
      try {
        if (await asking) return;
        await perform(
          'setEnv',
          { sandboxId, body: { env_vars: { [OWNER_VARIABLE]: owner }, merge: true } },
          ownCall(),
        );
      } catch (error) {
        if (areKept === asking) areKept = undefined;
        log.debug('a sandbox was not marked', { sandbox_id: sandboxId, error: String(error) });
      }
    },
  };
}
