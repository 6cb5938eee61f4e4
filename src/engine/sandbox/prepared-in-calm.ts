import type { LocalSandbox } from './local-sandbox.ts';

/** The same, which also prepares what it has started as soon as it starts no other one: that comes first. */
export function preparedInCalm<Args extends unknown[], T extends Pick<LocalSandbox, 'prepare'>>(
  start: (...args: Args) => Promise<T>,
): (...args: Args) => Promise<T> {
  const unprepared: T[] = [];
  let starting = 0;
  return async (...args) => {
    starting += 1;
    try {
      const sandbox = await start(...args);
      unprepared.push(sandbox);
      return sandbox;
    } finally {
      starting -= 1;
      if (starting === 0) for (const each of unprepared.splice(0)) each.prepare();
    }
  };
}
