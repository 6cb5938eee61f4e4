import { expect, test } from 'vitest';
import { HOPX_RATES_PER_MINUTE } from '../../src/contract/hopx.ts';
import type { RateFigures } from '../../src/engine/rate-limits.ts';
import { startScriptedEngine } from './scripted-engine.ts';

const create = 'POST /v1/sandboxes';
const json = { template_id: '73' };

async function limited(rates: RateFigures = HOPX_RATES_PER_MINUTE) {
  const engine = await startScriptedEngine({}, { rates, maxSandboxes: 1000 });
  const statuses = async (count: number, call: () => Promise<{ status: number }>) => {
    const found: number[] = [];
    for (let n = 0; n < count; n += 1) found.push((await call()).status);
    return found;
  };
  return { ...engine, statuses };
}

test('every answer says how much is left, until when', async () => {
  const { api, clock, stop } = await limited();
  const reset = String(clock.now() / 1000 + 60);
  expect((await api.call('GET /v1/sandboxes')).headers).toMatchObject({
    'x-ratelimit-limit': '100',
    'x-ratelimit-remaining': '99',
    'x-ratelimit-reset': reset,
  });
  clock.advance(10_000);
  expect((await api.call('GET /v1/sandboxes/none')).headers).toMatchObject({
    'x-ratelimit-remaining': '98',
    'x-ratelimit-reset': reset,
  });
  await stop();
});

test('the 101st request of a minute is refused as HopX does it, and the next minute begins anew', async () => {
  const { api, clock, statuses, stop } = await limited();
  const list = () => api.call('GET /v1/sandboxes');
  expect(new Set(await statuses(100, list))).toEqual(new Set([200]));
  clock.advance(20_000);
  expect(await list()).toMatchObject({
    status: 429,
    headers: { 'retry-after': '40', 'x-ratelimit-remaining': '0' },
    body: {
      error: 'Rate limit exceeded: 100 requests per minute',
      code: 'RATE_LIMIT_EXCEEDED',
      retry_after: 40,
    },
  });
  clock.advance(40_000);
  expect((await list()).status).toBe(200);
  await stop();
});

test('creations have a limit of their own, and count for the control plane as well', async () => {
  const { api, statuses, stop } = await limited();
  const found = await statuses(21, () => api.call(create, { json }));
  expect(found.filter((status) => status === 201)).toHaveLength(20);
  const refused = await api.call(create, { json });
  expect(refused).toMatchObject({
    status: 429,
    body: { error: 'Rate limit exceeded: 20 requests per minute' },
  });
  // Those that were refused did not count.
  expect((await api.call('GET /v1/sandboxes')).headers['x-ratelimit-remaining']).toBe('79');
  await stop();
});

test('each sandbox is counted by itself, and nothing of it for the control plane', async () => {
  const { api, statuses, stop } = await limited({ control: 9, agent: 2, create: 9 });
  const [one, other] = [await api.createSandbox(), await api.createSandbox()];
  const ping = (box: typeof one) => () => api.call(`GET ${box.host}/ping`);
  expect(await statuses(3, ping(one))).toEqual([200, 200, 429]);
  expect(await statuses(3, ping(other))).toEqual([200, 200, 429]);
  expect((await api.call('GET /v1/sandboxes')).headers['x-ratelimit-remaining']).toBe('6');
  await stop();
});

test('without limits nothing is said of them', async () => {
  const { api, stop } = await startScriptedEngine();
  expect((await api.call('GET /v1/sandboxes')).headers).not.toHaveProperty('x-ratelimit-limit');
  await stop();
});
