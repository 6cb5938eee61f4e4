import { describe, expect, test } from 'vitest';
import type { FailureCode } from '../../src/contract/failures.ts';
import type { CreateRequest } from '../../src/contract/hopx.ts';
import type { CreateInput } from '../../src/sandboxes/sandboxes.ts';
import { newCall } from '../support/calls.ts';
import { code, failing, scriptedSandboxes, settled } from './scripted-sandboxes.ts';

describe('the default sandbox', () => {
  test('is made on first use, used again, and told with every result', async () => {
    const { sandboxes, created, ran } = scriptedSandboxes();
    for (const _ of [1, 2]) {
      expect(await sandboxes.execute(code, newCall())).toMatchObject({ sandbox: { sandbox_id: 's1' } });
    }
    expect(created).toEqual([{ template_name: 'code-interpreter', timeout_seconds: 1_800 }]);
    expect(ran.map(([id]) => id)).toEqual(['s1', 's1']);
  });

  test('is one, however many runs ask for it at once', async () => {
    const { sandboxes, created } = scriptedSandboxes({
      creating: async () => new Promise((resolve) => setImmediate(resolve)),
    });
    await Promise.all([1, 2, 3, 4].map(() => sandboxes.execute(code, newCall())));
    expect(created).toHaveLength(1);
  });

  test('is tried again when it could not be made', async () => {
    const { sandboxes, created } = scriptedSandboxes({
      creating: async (nth) => (nth === 1 ? failing('SERVICE_UNAVAILABLE')() : undefined),
    });
    expect(await settled(sandboxes.execute(code, newCall()))).toMatchObject({ code: 'SERVICE_UNAVAILABLE' });
    expect(await sandboxes.execute(code, newCall())).toMatchObject({ sandbox: { sandbox_id: 's2' } });
    expect(created).toHaveLength(2);
  });

  test('that another call stopped waiting for is made for this one', async () => {
    const { sandboxes } = scriptedSandboxes({
      creating: async (nth) => (nth === 1 ? failing('CANCELLED')() : undefined),
    });
    const [first, second] = [1, 2].map(() => settled(sandboxes.execute(code, newCall())));
    expect(await first).toMatchObject({ code: 'CANCELLED' });
    expect(await second).toMatchObject({ sandbox: { sandbox_id: 's2' } });
  });

  const endings: readonly (readonly [code: FailureCode, ran: readonly string[]])[] = [
    ['RESOURCE_NOT_FOUND', ['s1', 's2']],
    ['SANDBOX_EXPIRED', ['s1', 's2']],
    ['INTERNAL_ERROR', ['s1']],
    ['NETWORK_ERROR', ['s1']],
    ['REQUEST_TIMEOUT', ['s1']],
    ['CONFLICT', ['s1']],
  ];
  test.each(endings)('after %s: the code is sent to %j', async (failureCode, sentTo) => {
    const { sandboxes, ran } = scriptedSandboxes({
      running: async (id) => (id === 's1' ? failing(failureCode)() : {}),
    });
    await settled(sandboxes.execute(code, newCall()));
    expect(ran.map(([id]) => id)).toEqual(sentTo);
  });

  test('is replaced once in a call, not for ever', async () => {
    const { sandboxes, ran } = scriptedSandboxes({ running: failing('SANDBOX_EXPIRED') });
    expect(await settled(sandboxes.execute(code, newCall()))).toMatchObject({ code: 'SANDBOX_EXPIRED' });
    expect(ran.map(([id]) => id)).toEqual(['s1', 's2']);
  });

  test('is replaced by one, however many runs find it gone one after the other', async () => {
    const turns = async (count: number) => {
      for (let turn = 0; turn < count; turn += 1) await new Promise((resolve) => setImmediate(resolve));
    };
    const { sandboxes, created, ran } = scriptedSandboxes({
      creating: () => turns(9),
      running: async (id) => {
        const nth = ran.length;
        if (id !== 's1' || nth === 1) return {};
        await turns(nth);
        return failing('SANDBOX_EXPIRED')();
      },
    });
    await sandboxes.execute(code, newCall());
    const results = await Promise.all([1, 2, 3].map(() => sandboxes.execute(code, newCall())));
    expect(results.map(({ sandbox }) => sandbox?.sandbox_id)).toEqual(['s2', 's2', 's2']);
    expect(created).toHaveLength(2);
  });

  test('that is deleted during a run is no reason to run the code again', async () => {
    const { sandboxes, ran } = scriptedSandboxes({
      running: async (id) => {
        await sandboxes.delete(id, newCall());
        return failing('INTERNAL_ERROR')();
      },
    });
    expect(await settled(sandboxes.execute(code, newCall()))).toMatchObject({ code: 'INTERNAL_ERROR' });
    expect(ran).toHaveLength(1);
  });

  test('that was deleted is made anew', async () => {
    const { sandboxes } = scriptedSandboxes();
    await sandboxes.execute(code, newCall());
    await sandboxes.delete('s1', newCall());
    expect(await sandboxes.execute(code, newCall())).toMatchObject({ sandbox: { sandbox_id: 's2' } });
  });

  test('is not used, nor told, when another one is named', async () => {
    const { sandboxes, created, ran } = scriptedSandboxes();
    expect(await sandboxes.execute({ ...code, sandboxId: 'x' }, newCall())).not.toHaveProperty('sandbox');
    expect([created, ran.map(([id]) => id)]).toEqual([[], ['x']]);
  });

  test('does not take the place of one that is named and gone', async () => {
    const { sandboxes, ran } = scriptedSandboxes({ running: failing('SANDBOX_EXPIRED') });
    expect(await settled(sandboxes.execute({ ...code, sandboxId: 'x' }, newCall()))).toMatchObject({
      code: 'SANDBOX_EXPIRED',
      facts: { sandboxId: 'x' },
    });
    expect(ran).toHaveLength(1);
  });
});

describe('a creation asks for', () => {
  const cases: readonly (readonly [input: CreateInput, CreateRequest])[] = [
    [{ template: 'base' }, { template_name: 'base', timeout_seconds: 1_800 }],
    [{ template: '73' }, { template_id: '73', timeout_seconds: 1_800 }],
    [
      { template: 'base', timeoutSeconds: 60, internetAccess: false, env: { A: '1' }, region: 'eu-west' },
      {
        template_name: 'base',
        timeout_seconds: 60,
        internet_access: false,
        env_vars: { A: '1' },
        region: 'eu-west',
      },
    ],
  ];
  test.each(cases)('%j', async (input, request) => {
    const { sandboxes, created } = scriptedSandboxes();
    await sandboxes.create(input, newCall());
    expect(created).toEqual([request]);
  });
});

test('a sandbox is described in full, with what HopX applies where it says nothing', async () => {
  const { sandboxes } = scriptedSandboxes();
  const common = {
    backend: 'hopx',
    isolation: 'A HopX cloud virtual machine with a kernel of its own.',
    languages: ['python', 'javascript', 'bash', 'go'],
    workdir: '/workspace',
    expires_at: null,
  };
  expect(await sandboxes.create({ template: 'base' }, newCall())).toEqual({
    ...common,
    sandbox_id: 's1',
    status: 'running',
    template: 'code-interpreter',
    internet_access: true,
    created_at: '2030-01-01T00:00:00Z',
  });
  expect(await sandboxes.list(newCall())).toEqual([
    {
      ...common,
      sandbox_id: 'other',
      status: 'paused',
      template: '7',
      internet_access: false,
      created_at: null,
    },
  ]);
});

describe('a quota failure', () => {
  test('names our own sandboxes, and the one idle longest as the next step', async () => {
    let nowMs = 0;
    const { sandboxes } = scriptedSandboxes({
      now: () => nowMs,
      creating: async (nth) => (nth === 3 ? failing('RESOURCE_LIMIT_ERROR')() : undefined),
    });
    await sandboxes.create({ template: 'base' }, newCall());
    nowMs += 5 * 60_000;
    await sandboxes.create({ template: 'base' }, newCall());
    nowMs += 10 * 60_000;
    await sandboxes.execute({ ...code, sandboxId: 's1' }, { ...newCall(), deadlineMs: nowMs + 10_000 });
    nowMs += 2 * 60_000;
    expect(await settled(sandboxes.create({ template: 'base' }, newCall()))).toMatchObject({
      code: 'RESOURCE_LIMIT_ERROR',
      facts: {
        remediation: expect.stringContaining('Open: s2 (idle 12 min), s1 (idle 2 min).'),
        nextSteps: [{ tool: 'delete_sandbox', arguments: { sandbox_id: 's2' } }],
      },
    });
  });

  test('keeps the advice of the catalogue where none is ours', async () => {
    const { sandboxes } = scriptedSandboxes({ creating: failing('RESOURCE_LIMIT_ERROR') });
    expect(await settled(sandboxes.create({ template: 'base' }, newCall()))).toMatchObject({ facts: {} });
  });
});

describe('deleting', () => {
  test.each([true, false])('tells whether it was gone already: %j', async (alreadyGone) => {
    const { sandboxes } = scriptedSandboxes({ deleting: async () => ({ alreadyGone }) });
    expect(await sandboxes.delete('x', newCall())).toEqual({ sandbox_id: 'x', already_gone: alreadyGone });
  });
});

describe('the end of a session', () => {
  test('deletes what it made and nothing else', async () => {
    const { sandboxes, deleted, isClosed } = scriptedSandboxes();
    await sandboxes.execute(code, newCall());
    await sandboxes.create({ template: 'base' }, newCall());
    await sandboxes.create({ template: 'base' }, newCall());
    await sandboxes.execute({ ...code, sandboxId: 'other' }, newCall());
    await sandboxes.list(newCall());
    await sandboxes.delete('s2', newCall());
    await sandboxes.close();
    expect(deleted).toEqual(['s2', 's1', 's3']);
    expect(isClosed()).toBe(true);
  });

  test('keeps everything when told to', async () => {
    const { sandboxes, deleted, isClosed } = scriptedSandboxes({ keepOnExit: true });
    await sandboxes.execute(code, newCall());
    await sandboxes.close();
    expect([deleted, isClosed()]).toEqual([[], true]);
  });

  test('is not held up by a sandbox that cannot be deleted', async () => {
    const { sandboxes, deleted, isClosed } = scriptedSandboxes({
      deleting: async (id) => (id === 's1' ? failing('NETWORK_ERROR')() : { alreadyGone: false }),
    });
    await sandboxes.create({ template: 'base' }, newCall());
    await sandboxes.create({ template: 'base' }, newCall());
    await sandboxes.close();
    expect([deleted, isClosed()]).toEqual([['s1', 's2'], true]);
  });

  test('opens no connection that was never needed', async () => {
    const { sandboxes, connections } = scriptedSandboxes();
    await sandboxes.close();
    expect(connections()).toBe(0);
  });
});
