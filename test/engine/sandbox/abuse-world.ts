import { spawn, spawnSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync, closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type ListenOptions } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { z } from 'zod';

/** Things of the user's that a sandbox must not reach, made for one file of tests. */
export type World = {
  facts: Readonly<Record<string, unknown>>;
  /** Runs the probes as an unprivileged user outside of any sandbox. */
  control(bombs: boolean): Promise<Map<string, string>>;
  close(): Promise<void>;
};

const python = '/usr/bin/python3';
/** Somebody else's process, who has a message queue, and tells its secret on an abstract socket, which Node cannot listen on. */
const victimCode = `
import ctypes, os, signal, socket, sys
libc = ctypes.CDLL(None)
# IPC_CREAT; IPC_RMID
queue = libc.msgget(os.getpid(), 0o1600)
def leave(*_):
    libc.msgctl(queue, 0, None)
    os._exit(0)
signal.signal(signal.SIGTERM, leave)
server = socket.socket(socket.AF_UNIX)
server.bind("\\0" + sys.argv[1])
server.listen()
while True:
    client, _ = server.accept()
    client.sendall(sys.argv[2].encode())
    client.close()
`;
const text = readFileSync(new URL('./abuse-probes.py', import.meta.url), 'utf8');

/** The program that tries all probes of one kind. */
export function abuseProgram(facts: Readonly<Record<string, unknown>> | null): string {
  return `import json\nWORLD = json.loads(${JSON.stringify(JSON.stringify(facts))})\n${text}`;
}

const line = z.object({ name: z.string(), told: z.string().default(''), needs: z.string().nullish() });

function linesOf(output: string) {
  return output
    .split('\n')
    .filter(Boolean)
    .map((each) => line.parse(JSON.parse(each)));
}

/** What each probe said. */
export function told(output: string): Map<string, string> {
  return new Map(linesOf(output).map(({ name, told: words }) => [name, words]));
}

/** The table of probes. */
export function listProbes() {
  return linesOf(spawnSync(python, ['-'], { input: abuseProgram(null), encoding: 'utf8' }).stdout);
}

export async function openWorld(): Promise<World> {
  const secret = `secret-${randomUUID()}`;
  const marker = `marker-${randomUUID()}`;
  const directory = mkdtempSync(path.join(tmpdir(), 'hopx-abuse-'));
  chmodSync(directory, 0o777);
  const inside = (name: string) => path.join(directory, name);
  for (const name of ['secret', 'open']) {
    writeFileSync(inside(name), secret);
    chmodSync(inside(name), 0o666);
  }
  // Whoever connects is told the secret.
  const serve = async (options: ListenOptions) => {
    const server = createServer((socket) => socket.on('error', () => {}).end(secret)).listen(options);
    await once(server, 'listening');
    return server;
  };
  const tcp = await serve({ port: 0, host: '127.0.0.1' });
  const address = z.object({ port: z.number() }).parse(tcp.address());
  const servers = [
    tcp,
    await serve({ path: inside('socket') }),
    ...(await serve({ port: address.port, host: '::1' }).then(
      (server) => [server],
      () => [],
    )),
  ];
  chmodSync(inside('socket'), 0o666);
  const identity = process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : {};
  const victim = spawn(python, ['-c', victimCode, marker, secret], {
    cwd: '/',
    stdio: 'ignore',
    ...identity,
  });
  const facts = {
    secret,
    marker,
    secretFile: inside('secret'),
    openFile: inside('open'),
    socketPath: inside('socket'),
    abstractName: marker,
    port: address.port,
    victim: victim.pid,
    queue: victim.pid,
  };
  return {
    facts,
    async control(bombs) {
      const leftOpen = openSync(inside('secret'), 'r');
      const child = spawn(python, ['-'], {
        cwd: directory,
        env: { ...process.env, HOST_SECRET: secret },
        stdio: ['pipe', 'pipe', 'inherit', leftOpen],
        ...identity,
      });
      closeSync(leftOpen);
      let output = '';
      child.stdout?.on('data', (chunk: Buffer) => {
        output += chunk.toString('utf8');
      });
      child.stdin?.end(abuseProgram({ ...facts, bombs, supervisor: victim.pid }));
      await once(child, 'close');
      return told(output);
    },
    async close() {
      victim.kill('SIGTERM');
      await once(victim, 'close');
      await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
      rmSync(directory, { recursive: true });
    },
  };
}
