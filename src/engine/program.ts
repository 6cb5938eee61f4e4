import { randomUUID } from 'node:crypto';
import type { RunRequest } from './sandbox/local-sandbox.ts';

/** The same code as a process of its own: Python apart from the kernel, whose runs take turns. */
export function asProcess(run: RunRequest): RunRequest {
  if (run.language !== 'python') return run;
  // No line of the code can be this one.
  const end = `CODE_${randomUUID()}`;
  return { ...run, language: 'bash', code: `exec python3 - <<'${end}'\n${run.code}\n${end}\n` };
}

/** The Bash code that becomes the command: an argv where there are arguments, else a line for /bin/sh. */
export function commandCode(command: string, args: readonly string[] | undefined): string {
  const argv = args === undefined ? ['/bin/sh', '-c', command] : [command, ...args];
  return `exec ${argv.map(quote).join(' ')}`;
}

function quote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
