import type { Language } from '../../contract/results.ts';
import type { Rung } from './bubblewrap.ts';
import type { LocalSandbox } from './local-sandbox.ts';
import type { Machine } from './machine.ts';
import { sandboxRefused } from './remedies.ts';

/** Ample for what takes milliseconds on a machine that is not stuck. */
const PROBE_MS = 10_000;

/** The first rung on which a sandbox really runs code, and the languages that work there; throws `ENGINE_UNAVAILABLE` if there is none. */
export async function firstThatWorks(
  rungs: readonly Rung[],
  machine: Machine,
  start: (rung: Rung) => Promise<LocalSandbox>,
) {
  let complaint = '';
  for (const rung of rungs) {
    if (rung.madeBy === 'bubblewrap' && !rung.userNamespace && machine.uid !== 0) continue;
    try {
      const sandbox = await start(rung);
      const languages = await workingLanguages(sandbox).finally(() => sandbox.destroy());
      if (languages.includes('python') && languages.includes('bash')) return { rung, languages };
      complaint = 'python or bash does not run in it';
    } catch (failure) {
      if (complaint === '') complaint = failure instanceof Error ? failure.message : String(failure);
    }
  }
  throw sandboxRefused(machine, complaint);
}

const probes = [
  { of: 'python', language: 'python', code: 'print("works")' },
  { of: 'javascript', language: 'javascript', code: 'console.log("works")' },
  { of: 'bash', language: 'bash', code: 'echo works' },
  // Compiling takes seconds on a cold cache.
  { of: 'go', language: 'bash', code: 'go version >/dev/null && echo works' },
] as const;

async function workingLanguages(sandbox: LocalSandbox): Promise<Language[]> {
  const results = await Promise.all(
    probes.map(async ({ of, language, code }) => {
      const run = sandbox.run({ runId: `probe-${of}`, language, code, timeoutMs: PROBE_MS, env: {} });
      const { stdout } = await run.catch(() => ({ stdout: '' }));
      return stdout === 'works\n' ? [of] : [];
    }),
  );
  return results.flat();
}
