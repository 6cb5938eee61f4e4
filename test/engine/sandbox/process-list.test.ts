import { expect, test } from 'vitest';
import { listProcesses } from '../../../src/engine/sandbox/process-list.ts';
import { childrenOf } from '../../../src/engine/sandbox/process-tree.ts';
import { startPython } from './start-python.ts';

/** PR_SET_MM_MAP: all as it was, but with the command line where there is nothing but address space. */
const longCommandLine = (bytes: number) => `
import ctypes, struct, time
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = libc.sbrk.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
size = ${bytes}
start = libc.mmap(None, size, 1, 0x4022, -1, 0)
fields = open("/proc/self/stat").read().rpartition(")")[2].split()
at = lambda number: int(fields[number - 3])
map = struct.pack("11QQII", at(26), at(27), at(45), at(46), at(47), libc.sbrk(0), at(28), start, start + size, at(50), at(51), 0, 0, 2**32 - 1)
print(libc.prctl(35, 14, map, len(map), 0), flush=True)
time.sleep(100)`;

test('reads no more of a command line than it tells, however long a process makes its own', async () => {
  const { rootPid, line } = await startPython(longCommandLine(256 * 1024 * 1024));
  expect(line).toBe('0');
  const beforeBytes = process.resourceUsage().maxRSS * 1024;
  expect(listProcesses(rootPid)).toMatchObject([
    { name: 'python3', command: expect.stringMatching(/^.{0,1000}$/) },
  ]);
  expect(process.resourceUsage().maxRSS * 1024 - beforeBytes).toBeLessThan(64 * 1024 * 1024);
});

test('tells a command line of many arguments up to its thousandth character', async () => {
  const { rootPid } = await startPython(
    'import os, sys\nprint(flush=True)\nos.execv(sys.executable, ["py", "-c", "import time; time.sleep(100)", *["€" * 9] * 500])',
  );
  await expect.poll(() => listProcesses(rootPid)[0]?.command).toMatch(/^py -c import time.*€{9}/);
  expect(listProcesses(rootPid)[0]?.command).toHaveLength(1000);
});

test('sees every child of a process that has more than a page can name', async () => {
  const { rootPid } = await startPython(`
import os, time
for _ in range(1000):
  if os.fork() == 0: time.sleep(100); os._exit(0)
print(flush=True)
time.sleep(100)`);
  const [python = 0] = childrenOf(rootPid);
  expect(childrenOf(python)).toHaveLength(1000);
});
