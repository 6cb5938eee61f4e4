import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Launcher, openLauncher } from '../../../src/engine/sandbox/launcher.ts';
import { preparedInCalm } from '../../../src/engine/sandbox/prepared-in-calm.ts';

/** Starts by name, each as it is told to. */
function scripted() {
  const prepared: string[] = [];
  const ends = new Map<string, { up(): void; fail(): void }>();
  const start = preparedInCalm(
    (name: string) =>
      new Promise<{ prepare(): void }>((resolve, reject) => {
        ends.set(name, {
          up: () => resolve({ prepare: () => prepared.push(name) }),
          fail: () => reject(new Error(name)),
        });
      }),
  );
  const begin = (name: string) => void start(name).catch(() => {});
  const end = async (name: string, how: 'up' | 'fail' = 'up') => {
    ends.get(name)?.[how]();
    await new Promise(setImmediate);
  };
  return { prepared, begin, end };
}

describe('what was started is prepared', () => {
  test('at once where nothing else is being started', async () => {
    const { prepared, begin, end } = scripted();
    for (const name of ['first', 'second']) {
      begin(name);
      await end(name);
      expect(prepared.at(-1)).toBe(name);
    }
  });

  test.each(['up', 'fail'] as const)(
    'with the others once the last of them is up or failed: %s',
    async (how) => {
      const { prepared, begin, end } = scripted();
      for (const name of ['one', 'two', 'last']) begin(name);
      await end('two');
      await end('one');
      expect(prepared).toEqual([]);
      await end('last', how);
      expect(prepared).toEqual(how === 'up' ? ['two', 'one', 'last'] : ['two', 'one']);
    },
  );
});

describe('a real sandbox', () => {
  let launcher: Launcher;
  beforeAll(async () => {
    launcher = await openLauncher({ poolSize: 0 });
  });
  afterAll(() => launcher.close());

  test('has its Python kernel, under its supervisor, before it is asked to run anything', async () => {
    const sandbox = await launcher.launch({ id: 'prepared', internetAccess: false });
    await expect.poll(() => sandbox.processes().length).toBe(3);
    await sandbox.destroy();
  });

  test("that was deleted before its time came is in nobody's way", async () => {
    const sandbox = await launcher.launch({ id: 'deleted', internetAccess: false });
    await sandbox.destroy();
    expect(() => sandbox.prepare()).not.toThrow();
  });
});
