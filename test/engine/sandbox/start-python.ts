import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { onTestFinished } from 'vitest';

/** Runs Python below a shell until the test ends; resolves with the shell's pid and the first line of output. */
export async function startPython(code: string): Promise<{ rootPid: number; line: string }> {
  const root = spawn('/bin/bash', ['-c', 'python3 -c "$1"; true', 'bash', code], {
    detached: true,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const { pid: rootPid = 0 } = root;
  onTestFinished(() => {
    process.kill(-rootPid, 'SIGKILL');
  });
  const [line] = await once(createInterface(root.stdout), 'line');
  return { rootPid, line: String(line) };
}
