import { setTimeout as delay } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { createHopxClient } from '../../src/client/hopx-client.ts';
import { unlimitedRates } from '../../src/client/lanes.ts';
import { SandboxFailure } from '../../src/contract/failures.ts';
import { createLog } from '../../src/log.ts';
import { renderFailure } from '../../src/mcp/render.ts';
import { createRedactor } from '../../src/redactor.ts';
import { newCall } from '../support/calls.ts';
import { type Fault, faults, startFaultyHopx } from '../support/faulty-hopx.ts';
import { seededRandom } from '../support/seeded-random.ts';

/** Waits of the client pass this much faster, so that a minute's sweep is over in half a second. */
const SPEED = 100;
const fast = (ms: number, signal: AbortSignal) => delay(ms / SPEED, undefined, { signal });

type Mix = { says: string; seed: number; share: number; appliesEnv: boolean; only?: Fault };
const mixes: Mix[] = [
  { says: 'a fifth of all answers spoiled, in every way', seed: 1, share: 0.2, appliesEnv: true },
  { says: 'the same, on an API that does not apply env_vars', seed: 2, share: 0.2, appliesEnv: false },
  { says: 'half of all answers spoiled', seed: 3, share: 0.5, appliesEnv: true },
  ...faults.map((only, index) => ({
    says: `a third ${only}`,
    seed: 10 + index,
    share: 0.33,
    appliesEnv: true,
    only,
  })),
];

for (const { says, seed, share, appliesEnv, only } of mixes) {
  test(`no code twice, no sandbox lost, none of others touched, no secret told: ${says}`, {
    timeout: 60_000,
  }, async () => {
    const random = seededRandom(seed);
    const fault = () => {
      if (random() >= share) return undefined;
      return only ?? faults[Math.floor(random() * faults.length)];
    };
    const hopx = await startFaultyHopx({ fault, appliesEnv, random });
    const foreign = Array.from({ length: 20 }, (_, index) => hopx.createForeign(600 + index * 60));
    const apiKey = 'opaque-key-of-no-known-shape';
    const secrets = createRedactor([apiKey]);
    const told: string[] = [];
    const write = (line: string) => void told.push(line);
    const client = createHopxClient({
      baseUrl: hopx.url,
      apiKey,
      rates: unlimitedRates,
      log: createLog({ level: 'debug', redact: secrets.redact, write }),
      onSecret: secrets.add,
      sleep: fast,
    });

    const tell = (end: PromiseSettledResult<unknown>) => {
      if (end.status === 'fulfilled' || !(end.reason instanceof SandboxFailure)) return;
      const cost = { attempts: 1, queued_ms: 0, elapsed_ms: 0 };
      write(secrets.redact(JSON.stringify(renderFailure(end.reason, cost, new Date(), secrets.redact))));
    };
    const attempts = Array.from({ length: 60 }, async (_, index) => {
      if (index % 6 === 0) foreign.push(hopx.createForeign(1_800 + 60 * index));
      const call = newCall({ budgetMs: 30_000 });
      const { id } = await client.createSandbox(
        { template_name: 'code-interpreter', timeout_seconds: 1_800 },
        call,
      );
      const runs = ['a', 'b'].map((name) => client.execute(id, { code: `${index}${name}` }, newCall()));
      for (const run of await Promise.allSettled(runs)) tell(run);
      return id;
    });
    const ends = await Promise.allSettled(attempts);
    await client.close();
    await hopx.close();
    ends.forEach(tell);
    expect(told.length).toBeGreaterThan(60);
    expect(hopx.secretsIn(told.join(''))).toEqual([]);

    const returned = new Set(ends.flatMap((end) => (end.status === 'fulfilled' ? [end.value] : [])));
    for (const end of ends) if (end.status === 'rejected') expect(end.reason).toBeInstanceOf(SandboxFailure);
    const repeated = [...hopx.executions].filter(([, times]) => times > 1);
    const lost = [...hopx.boxes.values()].filter(({ id, owner }) => owner === 'client' && !returned.has(id));
    const vanished = [...returned].filter((id) => !hopx.boxes.has(id));
    expect({ repeated, lost: lost.map(({ id }) => id), vanished }).toEqual({
      repeated: [],
      lost: [],
      vanished: [],
    });
    expect(hopx.foreignDeletions).toBe(0);
    for (const id of foreign) {
      expect(returned.has(id)).toBe(false);
      expect(hopx.boxes.has(id)).toBe(true);
    }
    expect(returned.size).toBeGreaterThan(0);
  });
}
