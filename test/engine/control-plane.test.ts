import { describe, expect, test } from 'vitest';
import type { FailureCode } from '../../src/contract/failures.ts';
import { type ControlPlane, createControlPlane } from '../../src/engine/control-plane.ts';
import type { SandboxInfo } from '../../src/engine/sandbox-record.ts';
import { silentLog } from '../../src/log.ts';
import { manualClock } from './manual-clock.ts';
import { scriptedLauncher, withResolvers } from './scripted-launcher.ts';

type Options = {
  maxSandboxes?: number;
  script?: Parameters<typeof scriptedLauncher>[0];
};

function setUp({ maxSandboxes = 3, script }: Options = {}) {
  const clock = manualClock();
  const launcher = scriptedLauncher(script);
  const plane = createControlPlane({ launcher, clock, log: silentLog, maxSandboxes });
  const create = (request = {}) => plane.create({ template_id: '73', ...request });
  const destroyed = () => launcher.sandboxes.filter(({ isDestroyed }) => isDestroyed).map(({ id }) => id);
  return { clock, launcher, plane, create, destroyed };
}

const refusedAs = (code: FailureCode, message?: string) =>
  expect.objectContaining({ code, ...(message !== undefined && { message }) });

const list = (plane: ControlPlane) => plane.list({ limit: 100, cursor: 0 }).sandboxes.map(({ id }) => id);

describe('quota', () => {
  test('counts what lives and what is being created, and frees a place at delete', async () => {
    const gate = withResolvers<void>();
    const { plane, create } = setUp({ maxSandboxes: 2, script: { launching: () => gate.promise } });
    const first = create();
    const second = create();
    await expect(create()).rejects.toEqual(refusedAs('RESOURCE_LIMIT_ERROR', 'Sandbox limit reached (2/2)'));
    gate.resolve();
    await plane.delete((await first).id);
    await second;
    await create();
    await expect(create()).rejects.toEqual(refusedAs('RESOURCE_LIMIT_ERROR', 'Sandbox limit reached (2/2)'));
  });

  test('a launch that fails frees its place', async () => {
    let failures = 1;
    const launching = async () => {
      if (failures-- > 0) throw new Error('no more processes');
    };
    const { plane, create } = setUp({ maxSandboxes: 1, script: { launching } });
    await expect(create()).rejects.toThrow('no more processes');
    expect(list(plane)).toEqual([]);
    await expect(create()).resolves.toMatchObject({ status: 'running' });
  });

  test('a sandbox that ended by itself frees its place', async () => {
    const { launcher, create } = setUp({ maxSandboxes: 1 });
    await create();
    launcher.sandboxes[0]?.crash('memory');
    await expect.poll(() => launcher.sandboxes[0]?.isDestroyed).toBe(true);
    await expect(create()).resolves.toMatchObject({ status: 'running' });
  });
});

describe('lifetime', () => {
  test('ends on time, not before', async () => {
    const { clock, plane, create, destroyed } = setUp();
    const { id } = await create({ timeout_seconds: 60 });
    clock.advance(59_999);
    expect(plane.get(id)).toMatchObject({ status: 'running', timeoutSeconds: 60 });
    clock.advance(1);
    await expect.poll(destroyed).toEqual([id]);
    expect(() => plane.get(id)).toThrow(refusedAs('SANDBOX_EXPIRED'));
    expect(() => plane.getLive(id)).toThrow(refusedAs('SANDBOX_EXPIRED'));
    expect(list(plane)).toEqual([]);
  });

  test('is over for every caller even when the timer is late', async () => {
    for (const ask of [
      (plane: ControlPlane, id: string) => expect(() => plane.get(id)).toThrow(refusedAs('SANDBOX_EXPIRED')),
      (plane: ControlPlane, id: string) =>
        expect(() => plane.getLive(id)).toThrow(refusedAs('SANDBOX_EXPIRED')),
      (plane: ControlPlane) => expect(list(plane)).toEqual([]),
      (plane: ControlPlane) => expect(plane.create({ template_id: '73' })).resolves.toBeDefined(),
    ]) {
      const { clock, plane, create, destroyed } = setUp({ maxSandboxes: 1 });
      const { id } = await create({ timeout_seconds: 60 });
      clock.sleep(60_000);
      await ask(plane, id);
      await expect.poll(destroyed).toEqual([id]);
    }
  });

  test('counts from the request, also while the sandbox is being made', async () => {
    const gate = withResolvers<void>();
    const { clock, create, destroyed } = setUp({ script: { launching: () => gate.promise } });
    const creation = create({ timeout_seconds: 1 });
    clock.advance(1000);
    gate.resolve();
    await expect(creation).rejects.toEqual(refusedAs('SANDBOX_EXPIRED'));
    await expect.poll(() => destroyed().length).toBe(1);
  });

  test('is endless without timeout_seconds, as on HopX', async () => {
    const { clock, create } = setUp();
    expect(await create()).toMatchObject({ timeoutSeconds: null, expiresAtMs: null });
    expect(clock.pending()).toBe(0);
  });

  test('leaves no timer behind once the sandbox is deleted', async () => {
    const { clock, plane, create } = setUp();
    const { id } = await create({ timeout_seconds: 60 });
    expect(clock.pending()).toBe(1);
    await plane.delete(id);
    expect(clock.pending()).toBe(0);
  });
});

describe('delete', () => {
  test('resolves once the sandbox has ended; the id is unknown from then on', async () => {
    const gate = withResolvers<void>();
    const { plane, create, destroyed } = setUp({ script: { ending: () => gate.promise } });
    const { id } = await create();
    let isAnswered = false;
    const deletion = plane.delete(id).then(() => {
      isAnswered = true;
    });
    await expect.poll(destroyed).toEqual([id]);
    expect(isAnswered).toBe(false);
    gate.resolve();
    await deletion;
    expect(() => plane.get(id)).toThrow(refusedAs('RESOURCE_NOT_FOUND', 'Sandbox not found'));
    await expect(plane.delete(id)).rejects.toEqual(refusedAs('RESOURCE_NOT_FOUND', 'Sandbox not found'));
  });

  test('of a sandbox still being made destroys it when it is there', async () => {
    const gate = withResolvers<void>();
    const { plane, create, destroyed } = setUp({ script: { launching: () => gate.promise } });
    const creation = create();
    const [id = ''] = list(plane);
    expect(plane.get(id).status).toBe('creating');
    const deletion = plane.delete(id);
    gate.resolve();
    await deletion;
    await expect(creation).rejects.toEqual(refusedAs('RESOURCE_NOT_FOUND', 'Sandbox not found'));
    expect(destroyed()).toEqual([id]);
  });
});

describe('a sandbox that ended by itself', () => {
  test('shows status error, can do nothing, and goes with delete or the end of its lifetime', async () => {
    const { clock, launcher, plane, create } = setUp();
    const one = await create({ timeout_seconds: 60 });
    const other = await create({ timeout_seconds: 60 });
    for (const sandbox of launcher.sandboxes) sandbox.crash('memory');
    await expect.poll(() => plane.get(one.id).status).toBe('error');
    expect(list(plane)).toEqual([one.id, other.id]);
    const gone = refusedAs('RESOURCE_NOT_FOUND', 'Sandbox not found: it ended by itself (memory)');
    expect(() => plane.getLive(one.id)).toThrow(gone);
    await plane.delete(one.id);
    expect(() => plane.get(one.id)).toThrow(refusedAs('RESOURCE_NOT_FOUND', 'Sandbox not found'));
    clock.advance(60_000);
    expect(() => plane.get(other.id)).toThrow(refusedAs('SANDBOX_EXPIRED'));
    expect(list(plane)).toEqual([]);
  });

  test('is forgotten in the end: 1,000 are remembered', async () => {
    const { clock, plane, create } = setUp();
    const { id: first } = await create({ timeout_seconds: 1 });
    clock.advance(1000);
    const { id: second } = await create({ timeout_seconds: 1 });
    clock.advance(1000);
    for (let more = 0; more < 999; more++) {
      await create({ timeout_seconds: 1 });
      clock.advance(1000);
    }
    expect(() => plane.get(first)).toThrow(refusedAs('RESOURCE_NOT_FOUND'));
    expect(() => plane.get(second)).toThrow(refusedAs('SANDBOX_EXPIRED'));
  });
});

describe('list', () => {
  test('is in order of creation, page by page, and filters', async () => {
    const { launcher, plane, create } = setUp({ maxSandboxes: 5 });
    const made: SandboxInfo[] = [];
    for (const region of ['us-east', 'eu-west', 'us-east', 'us-east', 'us-east'])
      made.push(await create({ region }));
    launcher.sandboxes[2]?.crash('crashed');
    await expect.poll(() => plane.get(made[2]?.id ?? '').status).toBe('error');
    const page = (query = {}) => {
      const { sandboxes, hasMore } = plane.list({ limit: 2, cursor: 0, ...query });
      return { serials: sandboxes.map(({ serial }) => serial), hasMore };
    };
    expect(page()).toEqual({ serials: [1, 2], hasMore: true });
    expect(page({ cursor: 2 })).toEqual({ serials: [3, 4], hasMore: true });
    expect(page({ cursor: 4 })).toEqual({ serials: [5], hasMore: false });
    expect(page({ status: 'error' })).toEqual({ serials: [3], hasMore: false });
    expect(page({ status: 'running', region: 'us-east' })).toEqual({ serials: [1, 4], hasMore: true });
  });
});

describe('close', () => {
  test('destroys what lives and what is still being made, and refuses more', async () => {
    const gates = [withResolvers<void>(), withResolvers<void>()];
    let launches = 0;
    const launching = async () => gates[launches++]?.promise;
    const { plane, create, destroyed } = setUp({ script: { launching } });
    const first = create({ timeout_seconds: 60 });
    gates[0]?.resolve();
    await first;
    const second = create();
    const closing = plane.close();
    gates[1]?.resolve();
    await closing;
    expect(destroyed()).toHaveLength(2);
    await expect(second).rejects.toEqual(refusedAs('RESOURCE_NOT_FOUND'));
    await expect(create()).rejects.toEqual(refusedAs('SERVICE_UNAVAILABLE'));
  });
});
