import { once } from 'node:events';
import { createServer, type IncomingMessage, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import { SandboxFailure } from '../contract/failures.ts';
import { createSocketDirectory, removeLeftovers } from './socket-directory.ts';

/** A unix socket that only this user reaches, or a port on 127.0.0.1 (0: any free one). */
export type ListenOn = { kind: 'socket' } | { kind: 'loopback'; port: number };

export type UpgradeListener = (request: IncomingMessage, socket: Duplex, head: Buffer) => void;

type Listener = {
  baseUrl: string;
  /** Where `baseUrl` is reached when it is not a port. */
  socketPath?: string;
  serve(handle: RequestListener, upgrade: UpgradeListener): void;
  /** Cuts all connections and leaves nothing behind. */
  close(): Promise<void>;
};

/** Longer than a model thinks between two calls, so that the next one finds its connection warm. */
const KEEP_ALIVE_MS = 120_000;

/** Takes the place to listen at; the caller has to say at once, with `serve`, who answers. */
export async function openListener(listenOn: ListenOn): Promise<Listener> {
  const server = createServer({ keepAliveTimeout: KEEP_ALIVE_MS });
  const upgraded = new Set<Duplex>();
  const close = async () => {
    const closed = once(server, 'close');
    server.close();
    for (const socket of upgraded) socket.destroy();
    server.closeAllConnections();
    await closed;
  };
  const serve = (handle: RequestListener, upgrade: UpgradeListener) => {
    server.on('request', handle).on('upgrade', (request, socket, head) => {
      upgraded.add(socket);
      // Whoever is gone hears nothing of it.
      socket.on('error', () => {}).once('close', () => upgraded.delete(socket));
      upgrade(request, socket, head);
    });
  };

  if (listenOn.kind === 'socket') {
    // What cannot be removed now harms nobody, and a later server tries again.
    await removeLeftovers().catch(() => {});
    const { socketPath, remove } = await createSocketDirectory();
    await once(server.listen(socketPath), 'listening');
    return { baseUrl: 'http://localhost', socketPath, serve, close: () => close().finally(remove) };
  }

  try {
    await once(server.listen(listenOn.port, '127.0.0.1'), 'listening');
  } catch (cause) {
    throw new SandboxFailure('ENGINE_UNAVAILABLE', {
      message: `Port ${listenOn.port} of 127.0.0.1 is not free.`,
      remediation: 'Choose another port, or 0 for any free one.',
      cause,
    });
  }
  return { baseUrl: `http://127.0.0.1:${boundPort(server.address())}`, serve, close };
}

function boundPort(address: AddressInfo | string | null): number {
  if (address !== null && typeof address === 'object') return address.port;
  throw new Error('listening on something else than a port');
}
