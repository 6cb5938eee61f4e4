import { spawn } from 'node:child_process';
import { EventEmitter } from 'node:events';
import { readFileSync } from 'node:fs';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { CallToolResultSchema } from '@modelcontextprotocol/sdk/types.js';
import { z } from 'zod';
import { builtServer, newMark, processesWith, untilMs } from '../support/built-server.ts';
import { endless } from '../support/endless-programs.ts';
import { plainPng } from '../support/plain-png.ts';
import { median, quantile } from './support/measure.ts';
import { report } from './support/report.ts';

const STARTS = 15;
const LONG_SECONDS = 120;
/** What the official client, and most hosts, wait for an answer. */
const CLIENT_TIMEOUT_MS = 60_000;
const CANCELS = 9;
const FLOOD_BYTES = 100_000_000;
const AT_ONCE = 1_000;
const IDLE_MS = 1_000;

const { command, args, env: basicEnv } = builtServer;
const env = { ...basicEnv, LOG_LEVEL: 'warn' };
const initialize = `${JSON.stringify({
  jsonrpc: '2.0',
  id: 1,
  method: 'initialize',
  params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'bench', version: '1' } },
})}\n`;
/** The least that Node can do: one line in, one line out. */
const bareNode = [
  '-e',
  `process.stdin.once('data', () => process.stdout.write('{"jsonrpc":"2.0","id":1,"result":{}}\\n'))`,
];

async function startMs(commandArgs: readonly string[]): Promise<number> {
  const startedMs = performance.now();
  const child = spawn(command, commandArgs, { env, stdio: ['pipe', 'pipe', 'ignore'] });
  child.stdin.write(initialize);
  await new Promise((resolve) => child.stdout.once('data', resolve));
  const ms = performance.now() - startedMs;
  const gone = new Promise((resolve) => child.once('close', resolve));
  child.stdin.end();
  child.kill();
  await gone;
  return ms;
}

function residentMib(pid: number): number {
  const kib = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  return Number(kib) / 1024;
}

const executed = z.looseObject({
  execution: z.looseObject({
    execution_id: z.string(),
    status: z.string(),
    stdout: z.string(),
    truncated: z.array(z.looseObject({ full_output_path: z.string() })).optional(),
  }),
});

// The official client waits for "drain" once for each call that does not fit into the pipe.
EventEmitter.defaultMaxListeners = AT_ONCE;

const oursMs: number[] = [];
const bareMs: number[] = [];
for (let round = 0; round < STARTS; round += 1) {
  oursMs.push(await startMs(args));
  bareMs.push(await startMs(bareNode));
}

const transport = new StdioClientTransport({ command, args, env, stderr: 'inherit' });
const client = new Client({ name: 'bench', version: '1' });
await client.connect(transport);
const listed = await client.listTools();
await new Promise((resolve) => setTimeout(resolve, IDLE_MS));
const idleMib = residentMib(transport.pid ?? 0);

const call = async (given: Record<string, unknown>, signal = new AbortController().signal) =>
  CallToolResultSchema.parse(
    await client.callTool({ name: 'execute_code', arguments: given }, undefined, {
      timeout: CLIENT_TIMEOUT_MS,
      signal,
    }),
  );
const execute = async (given: Record<string, unknown>) =>
  executed.parse((await call(given)).structuredContent).execution;

const cancelledMs: number[] = [];
for (let round = 0; round < CANCELS; round += 1) {
  const mark = newMark();
  const abort = new AbortController();
  const outcome = call({ code: endless.python(mark) }, abort.signal).catch(() => {});
  await untilMs(() => processesWith(mark).length > 0);
  abort.abort();
  cancelledMs.push(await untilMs(() => processesWith(mark).length === 0, 1));
  await outcome;
}

const flood = await call({
  code: `import sys\nfor i in range(1000): sys.stdout.write("x" * ${FLOOD_BYTES / 1000 - 1} + "\\n")`,
});
const { truncated = [] } = executed.parse(flood.structuredContent).execution;
const kept = await execute({ language: 'bash', code: `stat -c %s ${truncated[0]?.full_output_path}` });

const picture = await call({ code: `${plainPng}\nopen("a.png", "wb").write(png)`, read_paths: ['a.png'] });
const imageBlocks = picture.content.filter((block) => block.type === 'image').length;

const floodStartedMs = performance.now();
const answers = await Promise.all(
  Array.from({ length: AT_ONCE }, (_, index) => call({ code: `print("own", ${index})` })),
);
const atOnceSeconds = (performance.now() - floodStartedMs) / 1000;
const ran = answers.filter((answer, index) => JSON.stringify(answer).includes(`own ${index}\\n`)).length;

const whole = Array.from({ length: LONG_SECONDS * 10 }, (_, index) => `line ${index}\n`).join('');
let long = await execute({
  code: `import time\nfor i in range(${LONG_SECONDS * 10}):\n  print("line", i, flush=True)\n  time.sleep(0.1)`,
  timeout_seconds: LONG_SECONDS * 2,
});
let calls = 1;
for (; long.status === 'running'; calls += 1) long = await execute({ execution_id: long.execution_id });
const lostLines = long.stdout === whole ? 0 : whole.split('\n').length - long.stdout.split('\n').length;
await client.close();

// Hosts show one form of a result.
const floodChars = Math.max(
  JSON.stringify(flood.content).length,
  JSON.stringify(flood.structuredContent).length,
);
const listChars = JSON.stringify(listed).length;
const slowestCancelMs = quantile(cancelledMs, 1);
report({
  bench: 'agent',
  table: [
    ['what an agent meets', 'here', 'rivals on Node 20'],
    [
      'start to initialize answer, ms',
      median(oursMs),
      'superserve 240, e2b and microsandbox 330-430, hopx-mcp 710-820',
    ],
    ['bare node, one line in and out, ms', median(bareMs), ''],
    ['resident when idle, MiB', idleMib, ''],
    ['tools/list, tokens of 4 characters', listChars / 4, '4,900-14,900'],
    [`program of ${LONG_SECONDS} s, client that waits 60 s: calls`, calls, ''],
    ['cancelled endless loop gone, ms (median)', median(cancelledMs), ''],
    ['100 MB of output, characters of answer', floodChars, ''],
    ['  of it readable in the sandbox, bytes', kept.stdout.trim(), ''],
    ['PNG without matplotlib, image blocks', imageBlocks, ''],
    [`${AT_ONCE} calls at once, answered (ran)`, `${answers.length} (${ran})`, ''],
    ['  in seconds', atOnceSeconds, ''],
  ],
  n: STARTS,
  median: median(oursMs),
  p99: quantile(oursMs, 0.99),
  unit: 'ms to start',
  ratio: median(oursMs) / median(bareMs),
  baseline: 'bare node',
  targets: [
    { says: 'start to initialize answer', figure: median(oursMs), target: 90, unit: 'ms' },
    { says: 'resident when idle', figure: idleMib, target: 60, unit: 'MiB' },
    { says: 'tools/list', figure: listChars / 4, target: 2_000, unit: 'tokens' },
    { says: `calls for a program of ${LONG_SECONDS} s`, figure: calls, target: 3 },
    { says: 'lines of it lost', figure: lostLines, target: 0 },
    { says: 'slowest of the cancelled loops gone', figure: slowestCancelMs, target: 200, unit: 'ms' },
    {
      says: 'longer form of the answer to 100 MB of output',
      figure: floodChars,
      target: 40_000,
      unit: 'characters',
    },
    { says: 'bytes of it readable', figure: Number(kept.stdout), target: FLOOD_BYTES, least: true },
    { says: 'image blocks', figure: imageBlocks, target: 1, least: true },
    { says: 'calls at once that were answered', figure: answers.length, target: AT_ONCE, least: true },
  ],
});
