import { Resolver } from 'node:dns/promises';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  request,
  type ServerResponse,
} from 'node:http';
import { connect as connectTo, isIP, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Duplex, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { temporaryPrefix } from './leftovers.ts';
import { isPublicAddress } from './public-address.ts';

export type EgressOptions = {
  /** Names, or `*.example.org` for all below it; undefined: every public host. */
  allowedHosts?: readonly string[] | undefined;
  /** All addresses of a name. */
  resolve?(host: string): Promise<string[]>;
  connect?(address: string, port: number): Socket;
};

export type EgressProxy = { socketPath: string; close(): void };

/** Web and web alone: everything else, mail above all, is what abuse looks like. */
const PORTS = [80, 443];
/** A package index answers in seconds; a download that stands still for so long is dead. */
const IDLE_MS = 120_000;
const CONNECT_MS = 10_000;
/** pip opens one, npm 15, a browser six a host; each takes two of the descriptors that this process has. */
const MAX_CONNECTIONS = 64;

/** How the directory of its socket begins. */
export const EGRESS_PREFIX = 'hopx-egress-';

/** Why a host is out of reach, in words for whoever reads the output of the code. */
class Refusal extends Error {}

/** An HTTP proxy for one sandbox, on a unix socket, that leads to public addresses alone; it resolves names itself and connects to what it checked. */
export async function openEgressProxy(options: EgressOptions = {}): Promise<EgressProxy> {
  const { allowedHosts, resolve = lookUp, connect = (host, port) => connectTo({ host, port }) } = options;
  const open = new Set<Duplex>();
  const keep = <T extends Duplex>(stream: T): T => {
    open.add(stream);
    stream.once('close', () => open.delete(stream)).on('error', () => stream.destroy());
    return stream;
  };

  const reach = async (url: URL): Promise<Socket> => {
    const host = url.hostname.replace(/^\[|\]$|\.$/g, '').toLowerCase();
    const port = Number(url.port === '' ? 80 : url.port);
    if (!PORTS.includes(port)) throw new Refusal(`port ${port}: only ${PORTS.join(' and ')} can be reached`);
    if (allowedHosts !== undefined && !allowedHosts.some((pattern) => matches(pattern, host)))
      throw new Refusal(`${host} is not in LOCAL_ALLOWED_HOSTS`);
    const addresses = isIP(host) > 0 ? [host] : await resolve(host);
    if (addresses.length === 0) throw new Refusal(`${host} has no address`);
    // One private address among public ones is how a name is rebound.
    if (!addresses.every((address) => isPublicAddress(address)))
      throw new Refusal(`${host} is not a public host`);
    return firstConnection(addresses, port, (address) => {
      const socket = keep(connect(address, port));
      return socket.setTimeout(IDLE_MS, () => socket.destroy());
    });
  };

  const served = new WeakSet<Duplex>();
  const server = createServer((incoming, response) => {
    // The answer closes the connection; those asked for in one breath would all be connected to.
    if (served.has(incoming.socket)) return;
    served.add(incoming.socket);
    forward(incoming, response, reach).catch((error: unknown) => {
      // A status is told once; a cut connection says that the body is not whole.
      if (response.headersSent) response.destroy();
      else {
        response.writeHead(statusOf(error), { 'content-type': 'text/plain', connection: 'close' });
        response.end(`${wordsFor(error)}\n`);
      }
    });
  });
  server.on('connection', keep);
  server.on('connect', (incoming, client, head) => {
    keep(client);
    const tunnel = async () => {
      const upstream = await reach(parseUrl(`http://${incoming.url}`));
      client.write('HTTP/1.1 200 Connection established\r\n\r\n');
      upstream.write(head);
      client.pipe(upstream).pipe(client);
      upstream.once('close', () => client.destroy());
      onClose(client, () => upstream.destroy());
    };
    tunnel().catch((error: unknown) => {
      const words = wordsFor(error);
      client.end(`HTTP/1.1 ${statusOf(error)} ${words}\r\ncontent-length: 0\r\n\r\n`);
    });
  });
  server.maxConnections = MAX_CONNECTIONS;

  const directory = mkdtempSync(path.join(tmpdir(), temporaryPrefix(EGRESS_PREFIX)));
  // Sandboxes of a server that is root run as other users.
  chmodSync(directory, 0o711);
  const socketPath = path.join(directory, 'proxy');
  await new Promise<void>((listening, failed) => {
    server.once('error', failed).listen(socketPath, listening);
  });
  chmodSync(socketPath, 0o666);
  server.unref();
  return {
    socketPath,
    close() {
      server.close();
      for (const stream of open) stream.destroy();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** Passes on a plain HTTP request; where it is redirected to, the client has to ask for anew. */
async function forward(
  incoming: IncomingMessage,
  response: ServerResponse,
  reach: (url: URL) => Promise<Socket>,
): Promise<void> {
  const url = parseUrl(incoming.url ?? '');
  if (url.protocol !== 'http:') throw new Refusal('only http:// is passed on as it is; use CONNECT');
  const upstream = await reach(url);
  const answer = await new Promise<IncomingMessage>((resolve, reject) => {
    const outgoing = request({
      createConnection: () => upstream,
      method: incoming.method,
      path: `${url.pathname}${url.search}`,
      // The name that was checked, whatever the client wrote beside it.
      headers: { ...passedOn(incoming), host: url.host, connection: 'close' },
    });
    // Closed without either is how it ends when the server changes the protocol.
    outgoing.on('error', reject).once('response', resolve).once('close', reject);
    onClose(response, () => outgoing.destroy());
    incoming.pipe(outgoing);
  });
  response.writeHead(answer.statusCode ?? 502, { ...passedOn(answer), connection: 'close' });
  await pipeline(answer, response);
}

/** Headers for the other side; trailers are not passed on, and Node throws at the name of one before a body of known length. */
function passedOn({ headers }: IncomingMessage): IncomingHttpHeaders {
  const { 'proxy-connection': _, 'proxy-authorization': __, trailer: ___, ...rest } = headers;
  return rest;
}

/** A client may have left while its host was looked up. */
function onClose(stream: Writable, act: () => void): void {
  if (stream.closed) act();
  else stream.once('close', act);
}

async function firstConnection(
  addresses: readonly string[],
  port: number,
  connect: (address: string) => Socket,
): Promise<Socket> {
  for (const address of addresses.slice(0, 4)) {
    const socket = connect(address);
    const isConnected = await new Promise<boolean>((resolve) => {
      const timer = setTimeout(() => resolve(false), CONNECT_MS);
      socket.once('connect', () => resolve(true)).once('close', () => resolve(false));
      socket.once('connect', () => clearTimeout(timer)).once('close', () => clearTimeout(timer));
    });
    if (isConnected) return socket;
    socket.destroy();
  }
  throw new Error(`no connection to port ${port}`);
}

/** Not getaddrinfo: slow names would hold the few threads that file access needs, and hosts files name what is not public. */
async function lookUp(host: string): Promise<string[]> {
  const resolver = new Resolver({ timeout: 3_000, tries: 2 });
  const answers = await Promise.allSettled([resolver.resolve4(host), resolver.resolve6(host)]);
  return answers.flatMap((answer) => (answer.status === 'fulfilled' ? answer.value : []));
}

function matches(pattern: string, host: string): boolean {
  return pattern.startsWith('*.') ? host.endsWith(pattern.slice(1)) : host === pattern;
}

function parseUrl(text: string): URL {
  if (!URL.canParse(text)) throw new Refusal('the request names no host');
  return new URL(text);
}

function statusOf(error: unknown): number {
  return error instanceof Refusal ? 403 : 502;
}

function wordsFor(error: unknown): string {
  return error instanceof Refusal ? `Refused by the sandbox: ${error.message}` : 'The host cannot be reached';
}
