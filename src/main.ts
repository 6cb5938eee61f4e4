#!/usr/bin/env node
import { Console } from 'node:console';
import { randomUUID } from 'node:crypto';
import manifest from '../package.json' with { type: 'json' };
import { tools } from '../tools/index.ts';
import type { HopxClient } from './client/hopx-client.ts';
import { type Config, readConfig } from './config.ts';
import { ownCall } from './contract/call.ts';
import { SandboxFailure } from './contract/failures.ts';
import { createLog, type Log } from './log.ts';
import { buildServer } from './mcp/server.ts';
import { serveStdio } from './mcp/stdio.ts';
import { createRedactor, type Redactor } from './redactor.ts';
import { createLedger } from './sandboxes/ledger.ts';
import { createSandboxes } from './sandboxes/sandboxes.ts';

const usage = `hopx-sandbox-mcp ${manifest.version}: ${manifest.description}

  node dist/main.js           MCP server on stdin and stdout
  node dist/main.js demo      runs a real MCP session against it and prints it
  node dist/main.js doctor    says what works on this machine; --fix mends what can be mended
  node dist/main.js serve     the embedded engine alone, as a HopX API on loopback

  --help, --version
`;

/** Hosts start the command only to look at it, too; by then it is clear that this one stays. */
const REAP_AFTER_MS = 2_000;
/** Time for many leftovers, and to wait out a rate limit's minute once. */
const REAP_CALL_MS = 60_000;

type Upstream = { connect(): Promise<HopxClient>; close(): Promise<void> };

/** The only place that knows what is behind the URL; both engine and client load on first use. */
function openUpstream(config: Config, secrets: Redactor, log: Log): Upstream {
  let client: Promise<HopxClient> | undefined;
  let closeEngine = async () => {};
  const owner = randomUUID();
  const { backend } = config;
  const ledger =
    backend.kind === 'hopx'
      ? createLedger({ account: backend, owner, keepOnExit: config.keepSandboxesOnExit, log })
      : undefined;

  const open = async (): Promise<HopxClient> => {
    const { createHopxClient } = await import('./client/hopx-client.ts');
    const { hopxRates, unlimitedRates } = await import('./client/lanes.ts');
    const common = { maxConcurrency: config.maxConcurrency, owner, log, onSecret: secrets.add };
    if (backend.kind === 'hopx') {
      const { baseUrl, apiKey } = backend;
      return createHopxClient({
        ...common,
        baseUrl,
        apiKey,
        rates: hopxRates,
        ...(ledger && { journal: ledger }),
      });
    }
    const { startEngine } = await import('./engine/engine.ts');
    const engine = await startEngine({
      listen: { kind: 'socket' },
      allowedHosts: config.localAllowedHosts,
      log,
    });
    closeEngine = engine.close;
    secrets.add(engine.apiKey);
    const { baseUrl, apiKey, socketPath } = engine;
    return createHopxClient({
      ...common,
      baseUrl,
      apiKey,
      socketPath,
      rates: unlimitedRates,
      streaming: 'reply',
    });
  };

  const connect = () => {
    client ??= open().catch((error: unknown) => {
      // The user may mend the machine while the server runs.
      client = undefined;
      throw error;
    });
    return client;
  };

  const reaping = setTimeout(async () => {
    if (ledger?.hasLeftovers() !== true) return;
    await ledger
      .reap(await connect(), () => ownCall(REAP_CALL_MS))
      .catch((error: unknown) => log.warn('reaping failed', { error: String(error) }));
  }, REAP_AFTER_MS).unref();

  return {
    connect,
    async close() {
      clearTimeout(reaping);
      await closeEngine();
      ledger?.close();
    },
  };
}

async function serveMcp(): Promise<void> {
  const { config, problems } = readConfig(process.env);
  const secrets = createRedactor(config.backend.kind === 'hopx' ? [config.backend.apiKey] : []);
  const log = createLog({ level: config.logLevel, redact: secrets.redact });
  for (const problem of problems) log.error('configuration problem', problem);
  const message = problems.map(({ variable, problem }) => `${variable} ${problem}.`).join(' ');

  const upstream = openUpstream(config, secrets, log);
  const sandboxes = createSandboxes({
    connect: upstream.connect,
    backend: config.backend.kind,
    ttlSeconds: config.sandboxTtlSeconds,
    keepOnExit: config.keepSandboxesOnExit,
    outputLimitChars: config.outputLimitChars,
    log,
  });
  const stopping = new AbortController();
  const built = buildServer({
    tools,
    sandboxes,
    version: manifest.version,
    callBudgetMs: config.callBudgetMs,
    problem: problems.length > 0 ? new SandboxFailure('CONFIGURATION_ERROR', { message }) : undefined,
    redact: secrets.redact,
    log,
    stopping: stopping.signal,
  });
  await serveStdio({
    built,
    stopNow: () => stopping.abort(),
    release: async () => {
      await sandboxes.close();
      await upstream.close();
    },
    log,
  });
  log.info('ready', { backend: config.backend.kind, version: manifest.version, pid: process.pid });
}

async function main([command, ...args]: readonly string[]): Promise<number | undefined> {
  switch (command) {
    case undefined:
      await serveMcp();
      return undefined;
    case 'demo':
      return (await import('./commands/demo.ts')).runDemo();
    case 'doctor':
      return (await import('./commands/doctor.ts')).runDoctor(args);
    case 'serve':
      return (await import('./commands/serve.ts')).runServe(args);
    case '--help':
    case '-h':
      process.stdout.write(usage);
      return 0;
    case '--version':
      process.stdout.write(`${manifest.version}\n`);
      return 0;
    default:
      process.stderr.write(`Unknown command "${command}".\n\n${usage}`);
      return 2;
  }
}

// A library that logs to the console must not write into the protocol.
globalThis.console = new Console(process.stderr);
const exitCode = await main(process.argv.slice(2));
if (exitCode !== undefined) process.exitCode = exitCode;
