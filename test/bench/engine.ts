import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { z } from 'zod';
import { findGo } from '../../src/engine/sandbox/interpreters.ts';
import { openLauncher } from '../../src/engine/sandbox/launcher.ts';
import type { LocalSandbox } from '../../src/engine/sandbox/local-sandbox.ts';
import { thisMachine } from '../../src/engine/sandbox/machine.ts';
import { descendants } from '../../src/engine/sandbox/process-tree.ts';
import { median, quantile } from './support/measure.ts';
import { report } from './support/report.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const AT_ONCE = 50;
const IN_A_ROW = 200;
const SESSIONS = 4;
/** From the pool and not, in each session. */
const CREATES = 10;
/** Time for the pool to be filled, and for a kernel to be started. */
const SETTLE_MS = 400;
const AT_ONCE_SETTLE_MS = 2_000;

const goRoot = findGo(thisMachine());
const languages = (['python', 'bash', 'javascript', 'go'] as const).filter(
  (language) => language !== 'go' || goRoot !== undefined,
);
const printOne = {
  python: 'print(1)',
  bash: 'echo 1',
  javascript: 'console.log(1)',
  go: 'package main\nimport "fmt"\nfunc main() { fmt.Println(1) }',
};
const rounds = { python: 300, bash: 100, javascript: 25, go: 10 };
const goProgram = path.join(mkdtempSync(path.join(tmpdir(), 'bench-go-')), 'main.go');
writeFileSync(goProgram, printOne.go);
const raw = {
  python: ['/usr/bin/python3', '-c', printOne.python],
  bash: ['/bin/bash', '-c', printOne.bash],
  javascript: [process.execPath, '-e', printOne.javascript],
  go: [`${goRoot}/bin/go`, 'run', goProgram],
} as const;

const figures = new Map<string, number[]>();
async function time<T>(what: string, run: () => Promise<T> | T): Promise<T> {
  const startedMs = performance.now();
  const value = await run();
  figures.set(what, [...(figures.get(what) ?? []), performance.now() - startedMs]);
  return value;
}
const p50 = (what: string) => median(figures.get(what) ?? []);
/** The p50 of each session over MCP: by them one sees how quiet the machine was. */
const sessions = new Map<string, number[]>();
const p99 = (what: string) => quantile(figures.get(what) ?? [], 0.99);

let runs = 0;
async function run(sandbox: LocalSandbox, language: (typeof languages)[number]): Promise<void> {
  runs += 1;
  const request = { runId: `${runs}`, language, code: printOne[language], timeoutMs: 10_000, env: {} };
  const { stdout } = await sandbox.run(request);
  if (stdout !== '1\n') throw new Error(`${language} printed ${JSON.stringify(stdout)}`);
}

async function spawnRaw(): Promise<void> {
  for (const language of languages) {
    const [file, ...args] = raw[language];
    // With a socket as stdin, which a pipe of Node's is, Bash takes itself for a remote login and reads ~/.bashrc.
    for (let round = 0; round < 30; round += 1) {
      await time(`raw ${language}`, () => spawnSync(file, args, { stdio: ['ignore', 'pipe', 'pipe'] }));
    }
  }
}

async function useLocally(): Promise<void> {
  const cold = await openLauncher({ poolSize: 0 });
  const launch = () => cold.launch({ id: 'bench', internetAccess: false });
  for (const language of languages) {
    for (let round = 0; round < 15; round += 1) {
      const sandbox = await time('local create, cold', launch);
      await time(`local first ${language}`, () => run(sandbox, language));
      await time('local delete', () => sandbox.destroy());
    }
  }
  const sandbox = await launch();
  for (const language of languages) {
    for (let round = 0; round < rounds[language]; round += 1)
      await time(`local ${language}`, () => run(sandbox, language));
  }
  for (const [name, bytes, count] of [
    ['1 KiB', KIB, 200],
    ['1 MiB', MIB, 20],
  ] as const) {
    const content = Buffer.alloc(bytes, 'x');
    for (let round = 0; round < count; round += 1) {
      await time(`local write ${name}`, () => sandbox.writeFile('file', content));
      await time(`local read ${name}`, () => sandbox.readFile('file'));
    }
  }
  await sandbox.destroy();
  await cold.close();

  const pooled = await openLauncher();
  for (let round = 0; round < 15; round += 1) {
    const spare = await time(round === 0 ? 'not from the pool' : 'local create, pool', () =>
      pooled.launch({ id: 'bench', internetAccess: false }),
    );
    await delay(SETTLE_MS);
    await spare.destroy();
  }
  await pooled.close();
}

const structured = z.object({
  structuredContent: z.looseObject({
    sandbox: z.object({ sandbox_id: z.string() }).optional(),
    execution: z.object({ stdout: z.string() }).optional(),
  }),
});

async function startServer() {
  const transport = new StdioClientTransport({
    command: process.execPath,
    args: ['dist/main.js'],
    env: { PATH: process.env['PATH'] ?? '', LOG_LEVEL: 'silent', SANDBOX_BACKEND: 'local' },
  });
  const client = new Client({ name: 'bench', version: '1' });
  await client.connect(transport);
  const call = async (name: string, args: Record<string, unknown> = {}) => {
    const { structuredContent } = structured.parse(await client.callTool({ name, arguments: args }));
    return structuredContent;
  };
  const create = async (args: Record<string, unknown> = {}) =>
    (await call('create_sandbox', args)).sandbox?.sandbox_id ?? '';
  return { call, create, close: () => client.close() };
}

async function useOverMcp(): Promise<void> {
  const seen = new Map([...figures].map(([what, { length }]) => [what, length]));
  const server = await startServer();
  const sandboxId = await time('MCP create, engine not started yet', () => server.create());
  for (let round = 0; round < CREATES; round += 1) {
    // Those with internet access are never kept ready.
    const fresh = await time('MCP create, cold', () => server.create({ internet_access: true }));
    await time('MCP delete', () => server.call('delete_sandbox', { sandbox_id: fresh }));
  }
  for (let round = 0; round < CREATES; round += 1) {
    await delay(SETTLE_MS);
    const spare = await time('MCP create, pool', () => server.create());
    await time('MCP delete', () => server.call('delete_sandbox', { sandbox_id: spare }));
  }
  for (const language of languages) {
    for (let round = 0; round < rounds[language]; round += 1) {
      const args = { sandbox_id: sandboxId, language, code: printOne[language] };
      const what = round === 0 ? `MCP first ${language}` : `MCP ${language}`;
      const { execution } = await time(what, () => server.call('execute_code', args));
      if (execution?.stdout !== '1\n') throw new Error(`${language} over MCP printed something else`);
    }
  }
  await server.close();
  for (const [what, timesMs] of figures) {
    const own = timesMs.slice(seen.get(what) ?? 0);
    if (what.startsWith('MCP') && own.length > 0)
      sessions.set(what, [...(sessions.get(what) ?? []), median(own)]);
  }
}

function proportionalMib(pids: readonly number[]): number {
  const kib = pids.map((pid) =>
    Number(/^Pss:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1]),
  );
  return kib.reduce((sum, each) => sum + each, 0) / KIB;
}

async function manyAtOnce() {
  const launcher = await openLauncher({ poolSize: 0 });
  const startedMs = performance.now();
  const sandboxes = await Promise.all(
    Array.from({ length: AT_ONCE }, () => launcher.launch({ id: 'bench', internetAccess: false })),
  );
  const readyMs = performance.now() - startedMs;
  // With what they do once all of them are up: each starts its kernel.
  await delay(AT_ONCE_SETTLE_MS);
  const bareMib = proportionalMib(descendants(process.pid)) / AT_ONCE;
  await Promise.all(sandboxes.map((sandbox) => run(sandbox, 'python')));
  const usedMib = proportionalMib(descendants(process.pid)) / AT_ONCE;
  const endingMs = performance.now();
  await Promise.all(sandboxes.map((sandbox) => sandbox.destroy()));
  await launcher.close();
  return { readyMs, bareMib, usedMib, destroyedMs: performance.now() - endingMs };
}

function traces() {
  globalThis.gc?.();
  return {
    processes: descendants(process.pid).length,
    mounts: readFileSync('/proc/self/mountinfo', 'utf8').split('\n').length,
    descriptors: readdirSync('/proc/self/fd').length,
    files: readdirSync(tmpdir()).filter((name) => name.startsWith('hopx-')).length,
    heapMib: process.memoryUsage().heapUsed / MIB,
  };
}

async function manyInARow() {
  const cycle = async (count: number) => {
    const launcher = await openLauncher();
    for (let round = 0; round < count; round += 1) {
      const sandbox = await launcher.launch({ id: 'bench', internetAccess: false });
      await run(sandbox, 'bash');
      await sandbox.destroy();
    }
    await launcher.close();
    await delay(SETTLE_MS);
  };
  // What is allocated once is no leak.
  await cycle(10);
  const before = traces();
  await cycle(IN_A_ROW);
  const after = traces();
  return {
    processes: after.processes - before.processes,
    mounts: after.mounts - before.mounts,
    descriptors: after.descriptors - before.descriptors,
    files: after.files - before.files,
    heapMib: after.heapMib - before.heapMib,
  };
}

await spawnRaw();
rmSync(path.dirname(goProgram), { recursive: true });
for (let session = 0; session < SESSIONS; session += 1) await useOverMcp();
await useLocally();
const crowd = await manyAtOnce();
const left = await manyInARow();

const rows = [...figures.keys()].filter((what) => what !== 'not from the pool');
const warm = figures.get('local python') ?? [];
report({
  bench: 'engine',
  table: [
    ['', 'n', 'p50 ms', 'p99 ms'],
    ...rows.map((what) => [what, figures.get(what)?.length ?? 0, p50(what), p99(what)]),
  ],
  n: warm.length,
  median: median(warm),
  p99: quantile(warm, 0.99),
  unit: 'ms',
  ratio: median(warm) / p50('raw python'),
  baseline: 'raw spawn of the same Python',
  targets: [
    { says: 'create over MCP, cold, p50', figure: p50('MCP create, cold'), target: 35, unit: 'ms' },
    {
      says: 'create over MCP, from the pool, p50',
      figure: p50('MCP create, pool'),
      target: 10,
      unit: 'ms',
    },
    { says: 'warm Python over MCP, p50', figure: p50('MCP python'), target: 2, unit: 'ms' },
    { says: 'Bash over MCP, p50', figure: p50('MCP bash'), target: 10, unit: 'ms' },
    { says: 'delete over MCP, p50', figure: p50('MCP delete'), target: 5, unit: 'ms' },
    { says: `${AT_ONCE} sandboxes ready`, figure: crowd.readyMs, target: 1_000, unit: 'ms' },
    { says: 'memory of each, its kernel ready', figure: crowd.bareMib, target: 10, unit: 'MiB' },
    { says: `processes left after ${IN_A_ROW} in a row`, figure: left.processes, target: 0 },
    { says: 'mounts left', figure: left.mounts, target: 0 },
    { says: 'descriptors left', figure: left.descriptors, target: 0 },
    { says: 'files left', figure: left.files, target: 0 },
    { says: 'heap left', figure: left.heapMib, target: 5, unit: 'MiB' },
  ],
  notes: [
    `p50 over MCP, session by session: ${[...sessions]
      .filter(([, each]) => each.length > 1)
      .map(([what, each]) => `${what.replace('MCP ', '')} ${each.map((ms) => ms.toFixed(2)).join(' ')}`)
      .join('; ')}.`,
    `${AT_ONCE} at once: each ${crowd.bareMib.toFixed(1)} MiB with its Python kernel ready, ${crowd.usedMib.toFixed(1)} MiB with it in use; all destroyed in ${crowd.destroyedMs.toFixed(0)} ms.`,
  ],
  details: { crowd, left, sessions: Object.fromEntries(sessions) },
});
