import { afterAll, afterEach, beforeAll } from 'vitest';
import type { Language } from '../../../src/contract/results.ts';
import { type Launcher, type LauncherOptions, openLauncher } from '../../../src/engine/sandbox/launcher.ts';
import type { LocalSandbox, RunRequest } from '../../../src/engine/sandbox/local-sandbox.ts';

/** One launcher for a file of tests; every sandbox it makes is destroyed after the test that asked for it. */
export function useLauncher(options: LauncherOptions = {}) {
  let launcher: Launcher | undefined;
  let sandboxes: LocalSandbox[] = [];
  beforeAll(async () => {
    // Spares would come and go while tests count processes.
    launcher = await openLauncher({ poolSize: 0, ...options });
  });
  afterEach(async () => {
    await Promise.all(sandboxes.map((sandbox) => sandbox.destroy()));
    sandboxes = [];
  });
  afterAll(() => launcher?.close());
  return {
    async launch(): Promise<LocalSandbox> {
      if (launcher === undefined) throw new Error('no launcher yet');
      const sandbox = await launcher.launch({ id: 'test', internetAccess: false });
      sandboxes.push(sandbox);
      return sandbox;
    },
  };
}

let count = 0;

/** A run with a fresh id and ample time. */
export function request(language: Language, code: string, more: Partial<RunRequest> = {}): RunRequest {
  count += 1;
  return { runId: `run-${count}`, language, code, timeoutMs: 10_000, env: {}, ...more };
}
