import { EventEmitter, once } from 'node:events';
import { existsSync } from 'node:fs';
import { createServer } from 'node:http';
import { connect, createServer as createSocketServer, type Server, type Socket } from 'node:net';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { z } from 'zod';
import { openEgressProxy } from '../../../src/engine/sandbox/egress-proxy.ts';
import { type Launcher, openLauncher } from '../../../src/engine/sandbox/launcher.ts';
import type { LocalSandbox } from '../../../src/engine/sandbox/local-sandbox.ts';
import { request } from './sandbox-fixture.ts';

const PUBLIC = '93.184.216.34';
/** A package, made by the test that installs it. */
let wheel = Buffer.alloc(0);

/** Names of a world without an outside: what each resolves to, from the first look on. */
const names: Record<string, string[][]> = {
  'web.example.org': [[PUBLIC]],
  'index.example.org': [[PUBLIC]],
  'other.example.com': [[PUBLIC]],
  'six.example.org': [['2606:2800:220:1::1']],
  'inside.example.org': [['10.0.0.7']],
  'metadata.example.org': [['169.254.169.254']],
  'half.example.org': [[PUBLIC, '127.0.0.1']],
  'mapped.example.org': [['::ffff:127.0.0.1']],
  // Public for whoever checks, private for whoever looks a second time.
  'rebinding.example.org': [[PUBLIC], ['127.0.0.1']],
  'nowhere.example.org': [[]],
};

const looks = new Map<string, number>();
const connections: string[] = [];
const port = z.object({ port: z.number() });

/** The one web server of that world, behind every public address. */
const web = createServer((incoming, response) => {
  if (incoming.url === '/redirect')
    response.writeHead(302, { location: 'http://inside.example.org/secret' }).end();
  else if (incoming.url?.startsWith('/simple/pack/'))
    response
      .writeHead(200, { 'content-type': 'text/html' })
      .end('<a href="/pack-1.0-py3-none-any.whl">pack-1.0-py3-none-any.whl</a>');
  else if (incoming.url === '/pack-1.0-py3-none-any.whl') response.end(wheel);
  else response.end(`${incoming.method} ${incoming.headers.host} ${incoming.url}`);
});
const echo = createSocketServer((socket) => socket.on('error', () => {}).pipe(socket));

const launchers: Launcher[] = [];
const openProxy: typeof openEgressProxy = async (options) => {
  const { port: webPort } = port.parse(web.address());
  const { port: echoPort } = port.parse(echo.address());
  return openEgressProxy({
    ...options,
    async resolve(host) {
      const look = looks.get(host) ?? 0;
      looks.set(host, look + 1);
      const answers = names[host] ?? [];
      return answers[Math.min(look, answers.length - 1)] ?? [];
    },
    connect(address, asked) {
      connections.push(`${address}:${asked}`);
      return connect({ host: '127.0.0.1', port: asked === 443 ? echoPort : webPort });
    },
  });
};

async function launch(allowedHosts?: readonly string[]): Promise<LocalSandbox> {
  const launcher = await openLauncher({ allowedHosts, openProxy });
  launchers.push(launcher);
  return launcher.launch({ id: 'proxy', internetAccess: true });
}

let sandbox: LocalSandbox | undefined;
let listed: LocalSandbox | undefined;
beforeAll(async () => {
  for (const server of [web, echo]) await once(server.listen(0, '127.0.0.1'), 'listening');
  sandbox = await launch();
  listed = await launch(['web.example.org', '*.example.com']);
});
afterAll(async () => {
  await sandbox?.destroy();
  await listed?.destroy();
  for (const launcher of launchers) await launcher.close();
  for (const server of [web, echo]) server.close();
});

const bash = async (code: string, inside = sandbox) => {
  const run = await inside?.run(request('bash', code, { timeoutMs: 20_000 }));
  return `${run?.stdout}${run?.stderr}`;
};
/** Like curl, which is not on every machine: status and body, or the error. */
const get = (url: string) =>
  `python3 -c 'import sys, urllib.request as r\ntry: print(r.urlopen(sys.argv[1], timeout=5).read().decode())\nexcept Exception as e: print(e, getattr(e, "read", bytes)().decode())' ${url}`;
/** A tunnel to port 443, on whose other end everything comes back. */
const tunnel = (host: string) =>
  `python3 -c 'import http.client, sys\nc = http.client.HTTPConnection("127.0.0.1", 3128, timeout=5)\nc.set_tunnel(sys.argv[1])\ntry:\n  c.connect(); c.sock.sendall(b"ping" * 100000); left = 400000\n  while left: left -= len(c.sock.recv(65536))\n  print("echoed")\nexcept Exception as e: print(e)' ${host}:443`;

describe('a sandbox with internet access', () => {
  test.each([
    { says: 'a public host', code: get('http://web.example.org/x?y=1'), shows: 'GET web.example.org /x?y=1' },
    { says: 'a public host through a tunnel', code: tunnel('web.example.org'), shows: 'echoed' },
    { says: 'a public IPv6 host', code: tunnel('six.example.org'), shows: 'echoed' },
    { says: 'a public address', code: get(`http://${PUBLIC}/a`), shows: `GET ${PUBLIC} /a` },
  ])('reaches $says', async ({ code, shows }) => expect(await bash(code)).toContain(shows));

  test.each([
    { says: 'a private host', code: get('http://inside.example.org/'), shows: 'not a public host' },
    { says: 'a private host through a tunnel', code: tunnel('inside.example.org'), shows: '403' },
    {
      says: 'the metadata of a cloud',
      code: get('http://169.254.169.254/latest'),
      shows: 'not a public host',
    },
    { says: 'the same by a name', code: get('http://metadata.example.org/'), shows: 'not a public host' },
    {
      says: 'a host with one private address',
      code: get('http://half.example.org/'),
      shows: 'not a public host',
    },
    { says: 'IPv4 dressed as IPv6', code: tunnel('mapped.example.org'), shows: '403' },
    {
      says: 'loopback',
      code: 'NO_PROXY= no_proxy= '.concat(get('http://127.0.0.1/')),
      shows: 'not a public host',
    },
    {
      says: 'loopback in octal',
      code: 'NO_PROXY= no_proxy= '.concat(get('http://0177.1/')),
      shows: 'not a public host',
    },
    { says: 'loopback as a number', code: get('http://2130706433/'), shows: 'not a public host' },
    {
      says: 'loopback of IPv6',
      code: 'NO_PROXY= no_proxy= '.concat(get('http://[::1]/')),
      shows: 'not a public host',
    },
    {
      says: 'where a public host redirects to',
      code: get('http://web.example.org/redirect'),
      shows: 'not a public host',
    },
    { says: 'another port', code: get('http://web.example.org:25/'), shows: 'port 25' },
    { says: 'a host without address', code: get('http://nowhere.example.org/'), shows: 'has no address' },
    {
      says: 'anything without the proxy',
      code: 'http_proxy= HTTP_PROXY= '.concat(get(`http://${PUBLIC}/`)),
      shows: 'unreachable',
    },
  ])('does not reach $says', async ({ code, shows }) => {
    const before = connections.filter((each) => !each.startsWith(PUBLIC)).length;
    expect(await bash(code)).toContain(shows);
    // Not even a connection was made.
    expect(connections.filter((each) => !each.startsWith(PUBLIC))).toHaveLength(before);
  });

  test('a name is looked up once, and what was checked is what is connected to', async () => {
    expect(await bash(get('http://rebinding.example.org/'))).toContain('GET rebinding.example.org');
    expect(looks.get('rebinding.example.org')).toBe(1);
    expect(connections.at(-1)).toBe(`${PUBLIC}:80`);
    expect(await bash(get('http://rebinding.example.org/'))).toContain('not a public host');
  });

  test('the host that was checked is the one that is told to the server', async () => {
    const code = `printf 'GET http://web.example.org/ HTTP/1.1\\r\\nHost: other.example.com\\r\\nConnection: close\\r\\n\\r\\n'`;
    const shown = await bash(`exec 3<>/dev/tcp/127.0.0.1/3128; ${code} >&3; cat <&3`);
    expect(shown).toContain('GET web.example.org /');
  });

  test('installs a package from an index', async () => {
    const make = [
      'import zipfile, io, base64',
      'b = io.BytesIO()',
      'with zipfile.ZipFile(b, "w") as z:',
      '  z.writestr("pack.py", "answer = 42")',
      '  z.writestr("pack-1.0.dist-info/METADATA", "Metadata-Version: 2.1\\nName: pack\\nVersion: 1.0\\n")',
      '  z.writestr("pack-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")',
      '  z.writestr("pack-1.0.dist-info/RECORD", "pack.py,,\\npack-1.0.dist-info/METADATA,,\\npack-1.0.dist-info/WHEEL,,\\npack-1.0.dist-info/RECORD,,\\n")',
      'print(base64.b64encode(b.getvalue()).decode())',
    ].join('\n');
    const made = await sandbox?.run(request('python', make));
    wheel = Buffer.from(made?.stdout ?? '', 'base64');
    if (!(await bash('python3 -m pip --version')).startsWith('pip')) return;
    const index = '--index-url http://index.example.org/simple --trusted-host index.example.org';
    expect(await bash(`python3 -m pip install --disable-pip-version-check ${index} pack 2>&1`)).toContain(
      'Successfully installed pack-1.0',
    );
    expect(await sandbox?.run(request('python', 'import pack; pack.answer'))).toMatchObject({ result: '42' });
  });

  test('many connections at once are served in turn', async () => {
    const code = `${get('http://web.example.org/n')} & `.repeat(20);
    expect((await bash(`${code} wait`)).match(/GET web/g)).toHaveLength(20);
  });
});

describe('LOCAL_ALLOWED_HOSTS', () => {
  test.each([
    { host: 'web.example.org', isReached: true },
    { host: 'WEB.example.org.', isReached: true },
    { host: 'other.example.com', isReached: true },
    { host: 'index.example.org', isReached: false },
    { host: 'example.com', isReached: false },
    { host: PUBLIC, isReached: false },
  ])('with web.example.org and *.example.com, $host is reached: $isReached', async ({ host, isReached }) => {
    expect(await bash(get(`http://${host}/`), listed)).toContain(
      isReached ? 'GET ' : 'not in LOCAL_ALLOWED_HOSTS',
    );
  });
});

test('a sandbox without internet access has no way out', async () => {
  const launcher = await openLauncher({ openProxy });
  const closed = await launcher.launch({ id: 'closed', internetAccess: false });
  expect(await bash('ls /run/proxy; env | grep -i proxy; (exec 3<>/dev/tcp/127.0.0.1/3128)', closed)).toMatch(
    /No such file[\s\S]*refused/,
  );
  await closed.destroy();
  await launcher.close();
});

const RESET = 'reset';
const END = 'end';

/** What a hostile web server sends, packet by packet, and what a client asks of it. */
const hostile: { says: string; sends: string[]; asks?: string; shows: RegExp }[] = [
  { says: 'status 000', sends: ['HTTP/1.1 000 X\r\ncontent-length: 0\r\n\r\n'], shows: /^HTTP\/1.1 502/ },
  { says: 'status 099', sends: ['HTTP/1.1 099 X\r\ncontent-length: 0\r\n\r\n'], shows: /^HTTP\/1.1 502/ },
  {
    says: 'a trailer for a body of known length',
    sends: ['HTTP/1.1 200 OK\r\nTrailer: X\r\ncontent-length: 4\r\n\r\nbody'],
    shows: /^HTTP\/1.1 200 OK[\s\S]*body$/,
  },
  {
    says: 'a bad chunk after the headers',
    sends: ['HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n', 'zzzz\r\n'],
    shows: /^HTTP\/1.1 200 OK[\s\S]*hello\r\n$/,
  },
  {
    says: 'a bad chunk with the headers',
    sends: ['HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzzzz\r\n'],
    shows: /^HTTP\/1.1 |^$/,
  },
  {
    says: 'a reset after the headers',
    sends: ['HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhello', RESET],
    shows: /^HTTP\/1.1 200 OK[\s\S]*hello$/,
  },
  {
    says: 'an early end after the headers',
    sends: ['HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhello', END],
    shows: /^HTTP\/1.1 200 OK[\s\S]*hello$/,
  },
  { says: 'a reset instead of an answer', sends: [RESET], shows: /^HTTP\/1.1 502/ },
  { says: 'what is not HTTP', sends: ['SSH-2.0-x\r\n'], shows: /^HTTP\/1.1 502/ },
  {
    says: 'another protocol',
    sends: ['HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n'],
    shows: /^HTTP\/1.1 502/,
  },
  {
    says: 'nothing bad, but the client a trailer for a body of known length',
    sends: ['HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok'],
    asks: 'POST http://web.example.org/ HTTP/1.1\r\nhost: x\r\ntrailer: X\r\ncontent-length: 1\r\n\r\nx',
    shows: /^HTTP\/1.1 200 OK[\s\S]*ok$/,
  },
];

describe('a web server that sends', () => {
  const ask = async (
    socketPath: string,
    text = 'GET http://web.example.org/ HTTP/1.1\r\nhost: x\r\n\r\n',
  ) => {
    const client = connect(socketPath);
    let shown = '';
    client.on('data', (data) => {
      shown += data;
    });
    client.on('error', () => {}).write(text);
    await once(client, 'close');
    return shown;
  };

  test.each(hostile)('$says ends no more than its connection', async ({ sends, asks, shows }) => {
    const upstream = createSocketServer((socket) => {
      socket
        .on('error', () => {})
        .once('data', async () => {
          for (const packet of sends) {
            if (packet === RESET) socket.resetAndDestroy();
            else if (packet === END) socket.end();
            else socket.write(packet);
            // Nothing tells when the other side has read a packet.
            await new Promise((resolve) => setTimeout(resolve, 30));
          }
        });
    });
    await once(upstream.listen(0, '127.0.0.1'), 'listening');
    let behind: Server = upstream;
    const proxy = await openEgressProxy({
      resolve: async () => [PUBLIC],
      connect: () => connect(port.parse(behind.address()).port, '127.0.0.1'),
    });
    const thrown: unknown[] = [];
    const note = (error: unknown) => thrown.push(error);
    process.on('uncaughtException', note).on('unhandledRejection', note);
    onTestFinished(() => {
      process.off('uncaughtException', note).off('unhandledRejection', note);
      proxy.close();
      upstream.close();
    });

    expect(await ask(proxy.socketPath, asks)).toMatch(shows);
    behind = web;
    expect(await ask(proxy.socketPath)).toContain('GET web.example.org /');
    expect(thrown).toEqual([]);
  });
});

describe('connections to a host', () => {
  test.each([
    { says: 'HTTP/1.1', line: 'GET http://web.example.org/ HTTP/1.1\r\nhost: x\r\n\r\n' },
    { says: 'HTTP/1.0', line: 'GET http://web.example.org/ HTTP/1.0\r\nconnection: keep-alive\r\n\r\n' },
  ])('are no more than those to the proxy, however much is asked for at once in $says', async ({ line }) => {
    const proxy = await openProxy();
    onTestFinished(() => proxy.close());
    const before = connections.length;
    const client = connect(proxy.socketPath).resume();
    client.write(line.repeat(100));
    await once(client, 'close');
    expect(connections.length - before).toBe(1);
  });

  test.each([
    { leaves: 'client', of: 'a request', line: 'GET http://web.example.org/ HTTP/1.1\r\nhost: x\r\n\r\n' },
    { leaves: 'client', of: 'a tunnel', line: 'CONNECT web.example.org:443 HTTP/1.1\r\nhost: x\r\n\r\n' },
    { leaves: 'proxy', of: 'a request', line: 'GET http://web.example.org/ HTTP/1.1\r\nhost: x\r\n\r\n' },
    { leaves: 'proxy', of: 'a tunnel', line: 'CONNECT web.example.org:443 HTTP/1.1\r\nhost: x\r\n\r\n' },
  ])('end with the $leaves that leaves while the host of $of is looked up', async ({ leaves, line }) => {
    const looking = new EventEmitter();
    const ended = new Promise((resolve) => {
      looking.once('connected', (socket: Socket) => socket.once('close', resolve));
    });
    const proxy = await openEgressProxy({
      async resolve() {
        looking.emit('asked');
        await once(looking, 'found');
        return [PUBLIC];
      },
      connect() {
        // It answers nothing by itself.
        const socket = connect(port.parse(echo.address()).port, '127.0.0.1');
        looking.emit('connected', socket);
        return socket;
      },
    });
    onTestFinished(() => proxy.close());
    const asked = once(looking, 'asked');
    const client = connect(proxy.socketPath);
    client.on('error', () => {}).write(line);
    await asked;
    if (leaves === 'proxy') proxy.close();
    else client.destroy();
    await new Promise((resolve) => setTimeout(resolve, 50));
    looking.emit('found');
    await ended;
  });
});

describe('the proxy of a sandbox', () => {
  const sockets: string[] = [];
  const noted: typeof openEgressProxy = async (options) => {
    const proxy = await openProxy(options);
    sockets.push(proxy.socketPath);
    return proxy;
  };
  const left = () => sockets.map((socket) => existsSync(socket));

  test('is its own, and is gone with it', async () => {
    const launcher = await openLauncher({ openProxy: noted });
    const [one, other, third] = await Promise.all(
      ['one', 'other', 'third'].map((id) => launcher.launch({ id, internetAccess: true })),
    );
    expect(new Set(sockets).size).toBe(3);
    expect(left()).toEqual([true, true, true]);
    const held = `import socket\nheld = [socket.socket(socket.AF_UNIX) for _ in range(300)]\nfor each in held: each.connect("/run/proxy")\n`;
    expect(await one?.run(request('python', held))).toMatchObject({ exitCode: 0 });
    expect(await bash(get('http://web.example.org/x'), other)).toContain('GET web.example.org /x');

    await one?.destroy();
    expect(left().filter((isLeft) => isLeft)).toHaveLength(2);
    expect(await bash(get('http://web.example.org/y'), other)).toContain('GET web.example.org /y');
    await other?.destroy();
    expect(left().filter((isLeft) => isLeft)).toHaveLength(1);
    await launcher.close();
    expect(left()).toEqual([false, false, false]);
    await third?.destroy();
  });

  test('is closed when the sandbox does not start', async () => {
    let isClosed = false;
    const close = () => {
      isClosed = true;
    };
    const launcher = await openLauncher({
      openProxy: async () => ({ socketPath: '/nonexistent/proxy', close }),
    });
    await expect(launcher.launch({ id: 'none', internetAccess: true })).rejects.toMatchObject({
      code: 'SERVICE_UNAVAILABLE',
    });
    expect(isClosed).toBe(true);
    await launcher.close();
  });
});

test('nothing is left of a proxy that is closed', async () => {
  const proxy = await openEgressProxy();
  proxy.close();
  expect(existsSync(proxy.socketPath)).toBe(false);
});
