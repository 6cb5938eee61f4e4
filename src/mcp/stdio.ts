import { StdioServerTransport } from '@modelcontextprotocol/sdk/server/stdio.js';
import type { Log } from '../log.ts';
import type { BuiltServer } from './server.ts';

type StdioOptions = {
  built: BuiltServer;
  /** Aborts every call in flight. */
  stopNow(): void;
  /** Lets everything else go: sandboxes, engine, sockets. */
  release(): Promise<void>;
  log: Log;
};

/** A host that closes stdin may still read the answers to what it sent; SDK clients kill after a few seconds. */
const DRAIN_MS = 10_000;
/** Deleting cloud sandboxes takes a moment; whoever sent a signal is not kept longer than this. */
const RELEASE_MS = 9_000;
const POLL_MS = 20;
/** A reader that is there takes what a pipe holds in far less; one that is gone never does. */
const FLUSH_MS = 500;

/** Serves over stdin and stdout until the pipe or the process is closed, then exits 0 with nothing left behind. */
export async function serveStdio({ built, stopNow, release, log }: StdioOptions): Promise<void> {
  const { server, inFlight } = built;
  let leaving = false;

  const leave = async (why: string, drainMs: number) => {
    if (leaving) return;
    leaving = true;
    log.info('stopping', { why, in_flight: inFlight() });
    const deadline = performance.now() + drainMs;
    while (inFlight() > 0 && performance.now() < deadline) {
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
    stopNow();
    const backstop = setTimeout(() => process.exit(0), RELEASE_MS);
    await release().catch((error: unknown) => log.error('release failed', { error: String(error) }));
    clearTimeout(backstop);
    // What is still in the pipe's buffer is written before the process ends, if somebody reads it.
    process.stdout.write('', () => process.exit(0));
    setTimeout(() => process.exit(0), FLUSH_MS);
  };

  // A slow reader makes the SDK wait for "drain" once per queued reply.
  process.stdout.setMaxListeners(0);
  process.stdout.on('error', () => void leave('stdout is closed', 0));
  process.stdin.once('end', () => void leave('stdin ended', DRAIN_MS));
  process.stdin.once('close', () => void leave('stdin closed', DRAIN_MS));
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => void leave(signal, 0));
  }
  process.on('uncaughtException', (error) =>
    log.error('uncaught exception', { error: error.stack ?? error.message }),
  );
  process.on('unhandledRejection', (reason) => log.error('unhandled rejection', { error: String(reason) }));

  server.onclose = () => void leave('the protocol closed', 0);
  server.onerror = (error) => log.warn('protocol error', { error: error.message.slice(0, 500) });
  await server.connect(new StdioServerTransport());
}
