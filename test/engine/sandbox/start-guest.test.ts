import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { afterAll, describe, expect, onTestFinished, test } from 'vitest';
import { type LauncherOptions, openLauncher } from '../../../src/engine/sandbox/launcher.ts';
import { childrenOf, descendants } from '../../../src/engine/sandbox/process-tree.ts';
import { rungs } from '../../../src/engine/sandbox/rungs.ts';
import { newMark, processesWith } from '../../support/built-server.ts';
import { likeMacos } from '../../support/like-macos.ts';
import { request, useLauncher } from './sandbox-fixture.ts';

const isRoot = process.getuid?.() === 0;
const here = rungs.filter(({ madeBy, userNamespace }) => isRoot || userNamespace || madeBy === 'landlock');

/** What a process has open, as far as this user may see it. */
function descriptors(pid: number): string[] {
  try {
    return readdirSync(`/proc/${pid}/fd`).map((name) => readlinkSync(`/proc/${pid}/fd/${name}`));
  } catch {
    return [];
  }
}

describe('a guard that is killed', () => {
  const mac = likeMacos();
  afterAll(mac.remove);
  const guarded: { says: string; options: LauncherOptions }[] = [
    { says: 'Landlock', options: { rungs: rungs.filter(({ madeBy }) => madeBy === 'landlock') } },
    { says: 'something like macOS', options: mac },
  ];

  test.each(guarded)('takes all of its sandbox along, by $says', async ({ options }) => {
    const launcher = await openLauncher({ ...options, poolSize: 0 });
    onTestFinished(() => launcher.close());
    const sandbox = await launcher.launch({ id: 'a', internetAccess: false });
    const mark = newMark();
    await sandbox.run(request('bash', `(trap '' TERM HUP; exec setsid sleep ${mark}) >/dev/null 2>&1 &`));
    await expect.poll(() => processesWith(mark)).toHaveLength(1);
    const [guard = 0] = childrenOf(process.pid).filter((pid) => descendants(pid).length > 0);
    process.kill(guard, 'SIGKILL');
    expect(await sandbox.ended).toBe('crashed');
    await expect.poll(() => processesWith(mark)).toEqual([]);
    const left = () =>
      readdirSync(tmpdir()).filter((name) => name.startsWith(`hopx-sandbox-${process.pid}-`));
    await expect.poll(left).toEqual([]);
  });
});

describe.each(here)('by $madeBy, user namespace: $userNamespace, /proc: $proc', (rung) => {
  const { launch } = useLauncher({ rungs: [rung] });

  test('all code is ended before anything else when memory runs out, whatever it says, and the agent is not', async () => {
    const sandbox = await launch();
    const bash = 'echo 0 2>/dev/null > /proc/self/oom_score_adj; sleep 987 >/dev/null 2>&1 &';
    await sandbox.run(request('bash', bash));
    const python = 'open("/proc/self/oom_score_adj", "w").write("0")';
    expect((await sandbox.run(request('python', python))).stderr).toMatch(/Read-only|denied|No such file/);
    const inside = childrenOf(process.pid).flatMap(descendants);
    const scores = inside.map((pid) => readFileSync(`/proc/${pid}/oom_score_adj`, 'utf8').trim());
    const open = inside.map((pid) => descriptors(pid).filter((file) => file.startsWith('/proc')));
    expect(open).toEqual([isRoot ? [`/proc/${inside[0]}/oom_score_adj`] : [], [], [], [], []]);
    const own = readFileSync('/proc/self/oom_score_adj', 'utf8').trim();
    // The agent; two supervisors, the kernel and the program.
    expect(scores).toEqual([own, '1000', '1000', '1000', '1000']);
  });
});
