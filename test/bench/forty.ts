import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { CallToolResultSchema } from '@modelcontextprotocol/sdk/types.js';
import { median, quantile, round } from './support/measure.ts';
import { report } from './support/report.ts';
import { startServerProcess } from './support/server-process.ts';

const CALLS = 40;
const LIMIT = 10;
const WINDOW_MS = 2_000;
const MINIMUM_MS = (CALLS / LIMIT - 1) * WINDOW_MS;

const servers = startServerProcess();
const hopx = await servers.open({
  rate: { kind: 'fixed', limit: LIMIT, windowMs: WINDOW_MS },
  headers: true,
});

const client = new Client({ name: 'bench', version: '1' });
await client.connect(
  new StdioClientTransport({
    command: process.execPath,
    args: ['dist/main.js'],
    env: {
      PATH: process.env['PATH'] ?? '',
      HOME: process.env['HOME'] ?? '',
      HOPX_API_KEY: 'hopx_live_bench.key',
      HOPX_BASE_URL: hopx.url,
      LOG_LEVEL: 'error',
    },
  }),
);
await client.listTools();

const startedMs = performance.now();
const calls = await Promise.all(
  Array.from({ length: CALLS }, async (_, index) => {
    const reply = await client.callTool({ name: 'execute_code', arguments: { code: `print(${index})` } });
    const { isError } = CallToolResultSchema.parse(reply);
    return { ok: isError !== true, ms: performance.now() - startedMs };
  }),
);
const totalMs = performance.now() - startedMs;
const seen = await hopx.counts();
await client.close();
servers.close();

const callsMs = calls.map(({ ms }) => ms);
const failed = calls.filter(({ ok }) => !ok).length;
report({
  bench: 'forty',
  table: [
    ['40 execute_code over stdio', 'seconds', 'minimum', 'requests', '429s', 'failed'],
    ['10 per 2 s, with headers', totalMs / 1000, MINIMUM_MS / 1000, seen.requests, seen.throttled, failed],
  ],
  n: CALLS,
  median: median(callsMs),
  p99: quantile(callsMs, 0.99),
  unit: 'ms until a call was done',
  ratio: totalMs / MINIMUM_MS,
  baseline: 'theoretical minimum',
  targets: [
    { says: 'failed', figure: failed, target: 0 },
    { says: 'time over minimum', figure: round(totalMs / MINIMUM_MS), target: 1.05 },
    { says: '429s caused', figure: seen.throttled, target: 0 },
    { says: 'executions repeated', figure: seen.repeated, target: 0 },
  ],
});
