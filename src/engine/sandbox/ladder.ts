import { setTimeout } from 'node:timers/promises';
import type { Language } from '../../contract/results.ts';
import type { LocalSandbox } from './local-sandbox.ts';
import type { Machine } from './machine.ts';
import { sandboxRefused } from './remedies.ts';
import type { Rung } from './rungs.ts';
import { putUpWalls } from './walls.ts';

/** Ample for what takes milliseconds on a machine that is not stuck. */
const PROBE_MS = 10_000;
/** Some containers have a first process that looks for the dead every few seconds. */
const GONE_MS = 5_000;

/** The first rung on which a sandbox really runs code and holds it, and the languages that work there; throws `ENGINE_UNAVAILABLE` if there is none. */
export async function firstThatWorks(
  rungs: readonly Rung[],
  machine: Machine,
  start: (rung: Rung) => Promise<LocalSandbox>,
) {
  let complaint = '';
  const walls = await putUpWalls();
  try {
    for (const rung of rungs) {
      if (rung.madeBy === 'bubblewrap' && !rung.userNamespace && machine.uid !== 0) continue;
      try {
        return { rung, languages: await tryOut(await start(rung), walls.attempt(rung)) };
      } catch (failure) {
        if (complaint === '') complaint = failure instanceof Error ? failure.message : String(failure);
      }
    }
  } finally {
    walls.close();
  }
  throw sandboxRefused(machine, complaint);
}

const probes = [
  { of: 'javascript', language: 'javascript', code: 'console.log("works")' },
  { of: 'bash', language: 'bash', code: 'echo works' },
  // Compiling takes seconds on a cold cache.
  { of: 'go', language: 'bash', code: 'go version >/dev/null && echo works' },
] as const;

/** The languages that work; throws when that is too few of them, or when a wall does not hold. */
async function tryOut(sandbox: LocalSandbox, attempt: string): Promise<Language[]> {
  const say = async (of: string, language: Language, code: string) => {
    const run = sandbox.run({ runId: `probe-${of}`, language, code, timeoutMs: PROBE_MS, env: {} });
    const { stdout } = await run.catch(() => ({ stdout: '' }));
    return stdout.split('\n');
  };
  const others = Promise.all(
    probes.map(async ({ of, language, code }) => {
      const [said] = await say(of, language, code);
      return said === 'works' ? [of] : [];
    }),
  );
  const [tried = '', left = ''] = await say('python', 'python', attempt);
  const languages: Language[] = ['python', ...(await others).flat()];
  await sandbox.destroy();
  if (tried === '' || !languages.includes('bash')) throw new Error('python or bash does not run in it');
  if (tried !== 'held') throw new Error(`code in it could ${tried} of this machine`);
  if (left !== '' && !(await isGone(Number(left)))) throw new Error('a process outlived it');
  return languages;
}

/** Whether a process that has ended is taken leave of by whoever has to; until then it has its pid. */
async function isGone(pid: number): Promise<boolean> {
  for (const startedMs = performance.now(); performance.now() - startedMs < GONE_MS; await setTimeout(10)) {
    try {
      process.kill(pid, 0);
    } catch {
      return true;
    }
  }
  return false;
}
