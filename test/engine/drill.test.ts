import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { createHopxClient } from '../../src/client/hopx-client.ts';
import { unlimitedRates } from '../../src/client/lanes.ts';
import { SandboxFailure } from '../../src/contract/failures.ts';
import { systemClock } from '../../src/engine/clock.ts';
import { faultFile } from '../../src/engine/faults.ts';
import { silentLog } from '../../src/log.ts';
import { newCall } from '../support/calls.ts';
import { startScriptedEngine } from './scripted-engine.ts';

/** Waits of the client pass this much faster. */
const SPEED = 100;
const fast = (ms: number, signal: AbortSignal) => delay(ms / SPEED, undefined, { signal });

const everything = '* /*';
const drills = {
  'a proxy that fails before the work is done': [{ action: 'html', status: 503 }],
  'a proxy that fails after the work was done': [{ action: 'html', status: 503, when: 'after' }],
  'connections that break before the work is done': [{ action: 'reset' }],
  'connections that break after the work was done': [{ action: 'reset', when: 'after' }],
  'answers that are cut': [{ action: 'cut' }],
  'an overloaded service': [{ action: 'reply', status: 503, code: 'SERVICE_UNAVAILABLE', retry_after: 1 }],
};

for (const [says, faults] of Object.entries(drills)) {
  test(`no code runs twice and no sandbox is lost with ${says}`, { timeout: 30_000 }, async () => {
    const routes = ['POST /v1/sandboxes', 'POST /execute', everything];
    const rules = routes.flatMap((route) => faults.map((fault) => ({ route, probability: 0.3, ...fault })));
    const runs = new Map<string, number>();
    const run = async ({ code }: { code: string }) => {
      runs.set(code, (runs.get(code) ?? 0) + 1);
      return {};
    };
    const { engine, launcher, stop } = await startScriptedEngine(
      { run },
      {
        listen: { kind: 'loopback', port: 0 },
        clock: systemClock,
        maxSandboxes: 1000,
        faults: faultFile.parse({ seed: 5, faults: rules }),
      },
    );
    const { baseUrl, apiKey } = engine;
    const client = createHopxClient({ baseUrl, apiKey, rates: unlimitedRates, log: silentLog, sleep: fast });

    const attempts = Array.from({ length: 20 }, async (_, index) => {
      const request = { template_name: 'code-interpreter', timeout_seconds: 1800 };
      const { id } = await client.createSandbox(request, newCall({ budgetMs: 20_000 }));
      await client.execute(id, { code: `${index}` }, newCall()).catch(() => {});
      return id;
    });
    const ends = await Promise.allSettled(attempts);
    await client.close();
    const alive = launcher.sandboxes.filter(({ isDestroyed }) => !isDestroyed).map(({ id }) => id);
    await stop();

    for (const end of ends) if (end.status === 'rejected') expect(end.reason).toBeInstanceOf(SandboxFailure);
    const returned = ends.flatMap((end) => (end.status === 'fulfilled' ? [end.value] : []));
    expect([...runs].filter(([, times]) => times > 1)).toEqual([]);
    expect(alive.sort()).toEqual(returned.sort());
    expect(returned.length).toBeGreaterThan(0);
  });
}

test('the faults that the README shows are valid', () => {
  const [, block = ''] = /```json\n(\{ "seed"[\s\S]*?)```/.exec(readFileSync('README.md', 'utf8')) ?? [];
  const parsed = faultFile.parse(JSON.parse(block));
  expect(parsed.faults.length).toBeGreaterThan(1);
});
