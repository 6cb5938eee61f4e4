import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { childrenOf, descendants } from '../../../src/engine/sandbox/process-tree.ts';
import { rungs } from '../../../src/engine/sandbox/rungs.ts';
import { request, useLauncher } from './sandbox-fixture.ts';

const isRoot = process.getuid?.() === 0;
const here = rungs.filter(({ madeBy, userNamespace }) => isRoot || userNamespace || madeBy === 'landlock');

describe.each(here)('by $madeBy, user namespace: $userNamespace, /proc: $proc', (rung) => {
  const { launch } = useLauncher({ rungs: [rung] });

  test('all in a sandbox is ended before anything else when memory runs out, whatever code says', async () => {
    const sandbox = await launch();
    const bash = 'echo 0 2>/dev/null > /proc/self/oom_score_adj; sleep 987 >/dev/null 2>&1 &';
    await sandbox.run(request('bash', bash));
    const python = 'open("/proc/self/oom_score_adj", "w").write("0")';
    expect((await sandbox.run(request('python', python))).stderr).toMatch(/Read-only|denied|No such file/);
    const inside = childrenOf(process.pid).flatMap(descendants);
    const scores = inside.map((pid) => readFileSync(`/proc/${pid}/oom_score_adj`, 'utf8').trim());
    // The agent, two supervisors, the kernel and the program.
    expect(scores).toEqual(['1000', '1000', '1000', '1000', '1000']);
  });
});
