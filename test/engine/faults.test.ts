import { describe, expect, test } from 'vitest';
import { createFaults, faultFile } from '../../src/engine/faults.ts';
import { startScriptedEngine } from './scripted-engine.ts';

const faultsOf = (...faults: unknown[]) => faultFile.parse({ seed: 7, faults });

/** An engine whose faults are those, with a sandbox that was made before they count. */
async function drill(...faults: unknown[]) {
  const ran: string[] = [];
  const run = async ({ code }: { code: string }) => {
    ran.push(code);
    return { stdout: 'ran' };
  };
  const { api, stop } = await startScriptedEngine({ run }, { faults: faultsOf(...faults) });
  const { token, host } = await api.createSandbox();
  const execute = (code: string) => api.call(`POST ${host}/execute`, { token, json: { code } });
  return { api, stop, ran, execute };
}

const route = 'POST /execute';

describe('a fault', () => {
  test.each([
    [
      { action: 'reply', status: 503, code: 'SERVICE_UNAVAILABLE', error: 'Busy', retry_after: 2 },
      { status: 503, headers: { 'retry-after': '2' }, body: { error: 'Busy', code: 'SERVICE_UNAVAILABLE' } },
      0,
    ],
    [{ action: 'reply', status: 402, code: 'PAYMENT_REQUIRED', when: 'after' }, { status: 402 }, 1],
    [{ action: 'delay', delay_ms: 1 }, { status: 200, body: { stdout: 'ran' } }, 1],
  ])('%j answers so, and the work is done as it says', async (fault, reply, runs) => {
    const { execute, ran, stop } = await drill({ route, ...fault });
    expect(await execute('1')).toMatchObject(reply);
    expect(ran).toHaveLength(runs);
    await stop();
  });

  test.each([
    [{ action: 'reset' }, 0],
    [{ action: 'reset', when: 'after' }, 1],
    [{ action: 'cut' }, 1],
    [{ action: 'html' }, 0],
    [{ action: 'html', status: 200, when: 'after' }, 1],
  ])('%j is no JSON answer, and the work is done as it says', async (fault, runs) => {
    const { execute, ran, stop } = await drill({ route, ...fault });
    await expect(execute('1')).rejects.toThrow(/other side closed|ECONNRESET|terminated|aborted|JSON/);
    expect(ran).toHaveLength(runs);
    await stop();
  });

  test('comes at the requests it names, and only there', async () => {
    const { execute, stop } = await drill({ route, nth: [1, 3], action: 'reply', status: 500 });
    const statuses = [];
    for (let n = 0; n < 4; n += 1) statuses.push((await execute('1')).status);
    expect(statuses).toEqual([500, 200, 500, 200]);
    await stop();
  });

  test('reaches the control plane too, whose answers keep their request id', async () => {
    const { api, stop } = await drill({ route: 'GET /v1/sandboxes/*', action: 'reply', status: 404 });
    const reply = await api.call('GET /v1/sandboxes/any');
    expect(reply).toMatchObject({ status: 404, body: { request_id: reply.headers['x-request-id'] } });
    await stop();
  });
});

describe('the choice', () => {
  const choices = (seed: number, rule: Record<string, unknown>, count = 1000) => {
    const faults = createFaults(faultFile.parse({ seed, faults: [{ route, action: 'reset', ...rule }] }));
    return Array.from({ length: count }, () => faults.choose('POST', '/execute') !== undefined);
  };
  const share = (chosen: boolean[]) => chosen.filter(Boolean).length / chosen.length;

  test('is the same for the same seed, and another for another', () => {
    const probability = 0.3;
    expect(choices(1, { probability })).toEqual(choices(1, { probability }));
    expect(choices(1, { probability })).not.toEqual(choices(2, { probability }));
  });

  test('has the probability that it says', () => {
    expect(share(choices(1, { probability: 0.3 }))).toBeCloseTo(0.3, 1);
    expect(share(choices(1, { probability: 0 }))).toBe(0);
    expect(share(choices(1, {}))).toBe(1);
  });

  test('ends after so many times', () =>
    expect(choices(1, { times: 3 }, 5)).toEqual([true, true, true, false, false]));

  test.each([
    ['* /v1/sandboxes/*', 'DELETE', '/v1/sandboxes/abc', true],
    ['* /v1/sandboxes/*', 'GET', '/v1/sandboxes', false],
    ['* /v1/sandboxes/*', 'POST', '/v1/sandboxes/abc/pause', false],
    ['POST /execute', 'POST', '/execute/kill', false],
    ['POST /execute', 'GET', '/execute', false],
  ])('of %s for %s %s is %s', (pattern, method, path, isChosen) => {
    const faults = createFaults(faultsOf({ route: pattern, action: 'reset' }));
    expect(faults.choose(method, path) !== undefined).toBe(isChosen);
  });

  test('falls on the first rule that applies', () => {
    const rules = [
      { route, nth: 2, action: 'reset' },
      { route: '* /*', action: 'html' },
    ];
    const faults = createFaults(faultsOf(...rules));
    const actions = [1, 2, 3].map(() => faults.choose('POST', '/execute')?.action);
    expect(actions).toEqual(['html', 'reset', 'html']);
  });
});

test.each([
  [{ route: '/execute', action: 'reset' }, 'must be a method and a path'],
  [{ route, action: 'explode' }, 'Invalid'],
  [{ route, action: 'reset', status: 500 }, 'Unrecognized key'],
  [{ route, action: 'cut', when: 'before' }, 'Unrecognized key'],
  [{ route, action: 'reply', status: 200 }, 'Too small'],
  [{ route, action: 'delay' }, 'Invalid'],
  [{ route, action: 'reset', probability: 2 }, 'Too big'],
])('%j is refused with a reason', (fault, why) => {
  expect(faultFile.safeParse({ faults: [fault] }).error?.message).toContain(why);
});
