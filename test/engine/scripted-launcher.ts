import { SandboxFailure } from '../../src/contract/failures.ts';
import type { Launcher } from '../../src/engine/sandbox/launcher.ts';
import type { LocalSandbox, RunRequest, RunResult } from '../../src/engine/sandbox/local-sandbox.ts';

type EndReason = Awaited<LocalSandbox['ended']>;

export type ScriptedSandbox = LocalSandbox & {
  id: string;
  runs: RunRequest[];
  isDestroyed: boolean;
  /** Ends it as if by itself. */
  crash(reason: EndReason): void;
};

export type Script = {
  /** Waited for before a launch succeeds; rejects to let it fail. */
  launching?: (id: string) => Promise<void>;
  /** Waited for before a destroyed sandbox has ended. */
  ending?: () => Promise<void>;
  run?: (request: RunRequest, signal: AbortSignal) => Promise<Partial<RunResult>>;
};

export type ScriptedLauncher = Launcher & { sandboxes: ScriptedSandbox[]; isClosed: boolean };

/** A launcher whose sandboxes do what the test says, for the rules that need no real one. */
export function scriptedLauncher(script: Script = {}): ScriptedLauncher {
  const sandboxes: ScriptedSandbox[] = [];
  return {
    isolation: 'None: a script.',
    languages: ['python', 'javascript', 'bash'],
    sandboxes,
    isClosed: false,
    async close() {
      if (this.isClosed) throw new Error('the launcher was closed twice');
      this.isClosed = true;
    },
    async launch({ id }) {
      await script.launching?.(id);
      const sandbox = scriptedSandbox(id, script);
      sandboxes.push(sandbox);
      return sandbox;
    },
  };
}

/** What no test without a real sandbox asks for. */
const never = (): never => {
  throw new Error('this needs a real sandbox');
};
const unscripted = {
  openFile: never,
  createFile: never,
  listFiles: never,
  fileExists: never,
  removeFile: never,
  makeDirectory: never,
  openTerminal: never,
  watchFiles: never,
  prepare: never,
};

function scriptedSandbox(id: string, script: Script): ScriptedSandbox {
  const files = new Map<string, Uint8Array>();
  const { promise: ended, resolve: end } = withResolvers<EndReason>();
  return {
    id,
    runs: [],
    isDestroyed: false,
    ended,
    crash: end,
    async run(request, { signal = new AbortController().signal } = {}) {
      this.runs.push(request);
      const lost = ended.then((reason): never => {
        throw new SandboxFailure('RESOURCE_NOT_FOUND', { message: `Gone: ${reason}.`, outcome: 'unknown' });
      });
      const result = await Promise.race([script.run?.(request, signal), lost]);
      const nothing = {
        stdout: '',
        stderr: '',
        exitCode: 0,
        executionTimeMs: 5,
        variablesLost: false,
        truncated: [],
      };
      return { ...nothing, ...result };
    },
    async writeFile(path, content) {
      files.set(path, content);
    },
    async readFile(path) {
      return files.get(path) ?? Promise.reject(new Error(`no ${path}`));
    },
    ...unscripted,
    pause() {},
    resume() {},
    async stop() {},
    processes: () => [],
    async destroy() {
      this.isDestroyed = true;
      await script.ending?.();
      end('destroyed');
    },
  };
}

/** `Promise.withResolvers`, which Node 20 does not have. */
export function withResolvers<Value>(): {
  promise: Promise<Value>;
  resolve(value: Value): void;
  reject(reason: Error): void;
} {
  let resolve: (value: Value) => void = () => {};
  let reject: (reason: Error) => void = () => {};
  const promise = new Promise<Value>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { promise, resolve, reject };
}
