import { type EngineOptions, startEngine } from '../../src/engine/engine.ts';
import { silentLog } from '../../src/log.ts';
import { apiClient } from './api-client.ts';
import { manualClock } from './manual-clock.ts';
import { type Script, scriptedLauncher } from './scripted-launcher.ts';

/** A whole engine, real socket and all, but for its clock and its sandboxes. */
export async function startScriptedEngine(script: Script = {}, options: Partial<EngineOptions> = {}) {
  const clock = manualClock();
  const launcher = scriptedLauncher(script);
  const listen = { kind: 'socket' } as const;
  const engine = await startEngine({
    listen,
    log: silentLog,
    clock,
    launcher: async () => launcher,
    ...options,
  });
  const api = apiClient(engine);
  return {
    engine,
    api,
    clock,
    launcher,
    sandbox(id: string) {
      const found = launcher.sandboxes.find((sandbox) => sandbox.id === id);
      if (found === undefined) throw new Error(`no sandbox ${id} was launched`);
      return found;
    },
    async stop() {
      await api.close();
      await engine.close();
    },
  };
}

export type ScriptedEngine = Awaited<ReturnType<typeof startScriptedEngine>>;
export type TestSandbox = Awaited<ReturnType<ScriptedEngine['api']['createSandbox']>>;
