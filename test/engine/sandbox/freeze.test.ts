import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { freeze } from '../../../src/engine/sandbox/freeze.ts';
import { descendants, threadStates } from '../../../src/engine/sandbox/process-tree.ts';
import { startPython } from './start-python.ts';

/** With what all of these programs need. */
const startProgram = (code: string) => startPython(`import os, signal, threading, time\n${code}`);

const passes = (timeMs: number) => new Promise((resolve) => setTimeout(resolve, timeMs));
const statesBelow = (rootPid: number) => new Set(descendants(rootPid).flatMap(threadStates));
/** Of all processes below, the time they have had of a processor. */
const workedTicks = (rootPid: number) =>
  descendants(rootPid).reduce((sum, pid) => {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
    return sum + Number(fields[11]) + Number(fields[12]);
  }, 0);

const busy = [
  'def busy():',
  '  pid = os.fork()',
  '  while pid == 0: pass',
  '  return pid',
  'many = [busy() for _ in range(8)]',
].join('\n');

test.each([
  { says: 'is busy', code: busy },
  {
    says: 'stops and starts the others',
    code: `${busy}
if os.fork() == 0:
  while True:
    for pid in many: os.kill(pid, signal.SIGSTOP)
    for pid in many: os.kill(pid, signal.SIGCONT)`,
  },
  {
    says: 'has several processes start all others again',
    code: `${busy}
for _ in range(4):
  if os.fork() == 0:
    while True: os.kill(0, signal.SIGCONT)`,
  },
  {
    says: 'has only threads left',
    code: `def work():
  while True: pass
threading.Thread(target=work).start()
print(flush=True)
import ctypes
ctypes.CDLL(None).pthread_exit(None)`,
  },
])('code that $says does nothing until it is let go on', async ({ code }) => {
  const { rootPid } = await startProgram(`${code}\nprint(flush=True)\ntime.sleep(100)`);
  await passes(100);
  for (let count = 0; count < 8; count += 1) {
    const frozen = freeze(rootPid);
    await passes(20);
    const before = workedTicks(rootPid);
    await passes(50);
    expect([...statesBelow(rootPid)].filter((state) => !'TZ'.includes(state))).toEqual([]);
    expect(workedTicks(rootPid)).toBe(before);
    frozen.thaw();
    await expect.poll(() => statesBelow(rootPid)).toContain('R');
  }
});

test('what its own code had stopped stays so', async () => {
  const { rootPid, line } = await startProgram(
    `${busy}\nos.kill(many[0], signal.SIGSTOP)\nos.waitpid(many[0], os.WUNTRACED)\nprint(flush=True)\ntime.sleep(100)`,
  );
  expect(line).toBe('');
  const stopped = () => descendants(rootPid).filter((pid) => threadStates(pid)[0] === 'T');
  const own = stopped();
  expect(own).toHaveLength(1);
  const frozen = freeze(rootPid);
  await expect.poll(stopped).toHaveLength(9);
  frozen.thaw();
  await expect.poll(stopped).toEqual(own);
});
