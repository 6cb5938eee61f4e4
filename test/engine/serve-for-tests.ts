import { z } from 'zod';
import { runServe } from '../../src/commands/serve.ts';
import { startEngine } from '../../src/engine/engine.ts';
import type { Launcher } from '../../src/engine/sandbox/launcher.ts';
import { withResolvers } from './scripted-launcher.ts';

const announcement = z.object({ url: z.string(), api_key: z.string() });

/** The `serve` command as it is, up to the line that says where it listens. */
export async function serveForTests(args: readonly string[] = [], launcher?: () => Promise<Launcher>) {
  const announced = withResolvers<string>();
  const stopped = withResolvers<void>();
  let complaints = '';
  const exitCode = runServe(args, {
    env: {},
    stdout: { write: (text) => announced.resolve(text) },
    stderr: { write: (text) => (complaints += text) },
    start: (options) => startEngine({ ...options, ...(launcher !== undefined && { launcher }) }),
    untilStopped: () => stopped.promise,
  });
  void exitCode.then((code) => announced.reject(new Error(`serve ended with ${code}: ${complaints}`)));
  const { url, api_key: apiKey } = announcement.parse(JSON.parse(await announced.promise));
  return {
    url,
    apiKey,
    async stop() {
      stopped.resolve();
      await exitCode;
    },
  };
}
