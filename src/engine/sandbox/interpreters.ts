import { execFile } from 'node:child_process';
import { constants, existsSync, readdirSync, realpathSync, statSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import type { Language } from '../../contract/results.ts';
import { guestModules } from './guest-modules.ts';
import { TOOLS } from './inside.ts';
import type { Machine } from './machine.ts';

/** A real Python, with the agent compiled for it: that saves a third of a sandbox's start. */
export type Python = {
  executable: string;
  prefix: string;
  /** Of each of `guestModules`. */
  agentBytecode: readonly Uint8Array[];
};

/** What the sandboxes of one launcher run code with. */
export type Interpreters = {
  python: Python;
  /** On this machine; bound to a fixed place inside. */
  node: string | undefined;
  /** The root of a Go toolchain. */
  goRoot: string | undefined;
};

const OLDEST_PYTHON = [3, 9] as const;

// The version first: an old Python may fail at the rest.
const inspection = `
import sys
print("%d %d" % sys.version_info[:2])
import base64, importlib.util, json, marshal, os
print(os.path.realpath(sys.executable))
print(os.path.realpath(sys.base_prefix))
for name, source in json.load(sys.stdin.buffer):
    code = compile(source, "agent/%s.py" % name, "exec")
    print(base64.b64encode(importlib.util.MAGIC_NUMBER + bytes(12) + marshal.dumps(code)).decode())
`;

/** The system's python3, else the one on PATH, if a sandbox may read it; undefined if there is none. */
export async function findPython(
  machine: Machine,
  agentSources: readonly string[],
): Promise<Python | undefined> {
  const candidates = new Set(machine.searchPath.map((directory) => path.join(directory, 'python3')));
  // There, Apple's stub asks the user to install something; what it leads to lies elsewhere.
  if (machine.platform === 'darwin') candidates.delete('/usr/bin/python3');
  for (const candidate of candidates) {
    if (!existsSync(candidate)) continue;
    const python = await inspectPython(candidate, agentSources).catch(() => undefined);
    if (
      python !== undefined &&
      isReadableInside(machine, python.executable) &&
      isReadableInside(machine, python.prefix)
    )
      return python;
  }
  return undefined;
}

async function inspectPython(
  candidate: string,
  agentSources: readonly string[],
): Promise<Python | undefined> {
  // A broken shim may hang; a cold disk may be slow.
  const running = promisify(execFile)(candidate, ['-S', '-E', '-c', inspection], {
    timeout: 10_000,
    maxBuffer: 1024 * 1024,
  });
  // One that is no Python may leave before it has read.
  running.child.stdin
    ?.on('error', () => {})
    .end(JSON.stringify(guestModules.map((name, index) => [name, agentSources[index]])));
  const lines = (await running).stdout.trimEnd().split('\n');
  const [version = '', executable = '', prefix = '', ...bytecode] = lines;
  const [major = 0, minor = 0] = version.split(' ').map(Number);
  const isSupported = major === OLDEST_PYTHON[0] && minor >= OLDEST_PYTHON[1];
  // A prefix such as / or /home would put more inside than a Python.
  if (
    !isSupported ||
    !isInside(executable, prefix) ||
    prefix.split('/').length < 2 + Number(prefix !== '/usr')
  )
    return undefined;
  return { executable, prefix, agentBytecode: bytecode.map((code) => Buffer.from(code, 'base64')) };
}

/** The server's own Node or, where a sandbox cannot read that, the system's; undefined if neither can be read. */
export function findNode(machine: Machine): string | undefined {
  return [machine.execPath, '/usr/local/bin/node', '/usr/bin/node']
    .map(realPath)
    .find((file) => file !== undefined && isReadableInside(machine, file));
}

/** The root of the Go toolchain that the usual places or PATH lead to. */
export function findGo(machine: Machine): string | undefined {
  const versioned = list('/usr/lib')
    .filter((name) => /^go-\d/.test(name))
    .sort()
    .reverse();
  const places = ['/usr/local/go', '/usr/lib/go', ...versioned.map((name) => `/usr/lib/${name}`)].map(
    (root) => `${root}/bin/go`,
  );
  return [...places, ...machine.searchPath.map((directory) => path.join(directory, 'go'))]
    .map(realPath)
    .filter((file) => file !== undefined)
    .filter((file) => isReadableInside(machine, file))
    .map((file) => path.dirname(path.dirname(file)))
    .find((root) => existsSync(`${root}/pkg/tool`) && existsSync(`${root}/src/fmt`));
}

/** The command of each language that is there; code is the last argument, or stdin for `-`. */
export function commandsOf(
  { node, goRoot }: Interpreters,
  memoryBytes: number,
  nodeInside = `${TOOLS}/node`,
): Partial<Record<Language, readonly string[]>> {
  // V8's own limit ends a program with a readable error before RLIMIT_DATA does; stacks of threads count there too.
  const heapMegabytes = Math.floor((memoryBytes * 0.5) / 1024 / 1024);
  return {
    bash: ['/bin/bash'],
    ...(node !== undefined && {
      javascript: [
        nodeInside,
        `--max-old-space-size=${heapMegabytes}`,
        '--disable-warning=MODULE_TYPELESS_PACKAGE_JSON',
        '-',
      ],
    }),
    // `go run` would turn every exit code into 1.
    ...(goRoot !== undefined && {
      go: ['/bin/bash', '-c', 'go build -o "$0.bin" "$0" && exec "$0.bin"'],
    }),
  };
}

/** Whether the uid that sandboxes run as can read a file or directory: anyone, where the server is root. */
export function isReadableInside(machine: Machine, file: string): boolean {
  if (machine.uid !== 0) return true;
  for (let place = file, isLast = true; ; place = path.dirname(place), isLast = false) {
    const status = statSync(place, { throwIfNoEntry: false });
    if (status === undefined) return false;
    const wanted = isLast ? constants.S_IROTH | constants.S_IXOTH : constants.S_IXOTH;
    if ((status.mode & wanted) !== wanted) return false;
    if (place === '/') return true;
  }
}

function isInside(file: string, directory: string): boolean {
  return file.startsWith(`${directory}/`);
}

function realPath(file: string): string | undefined {
  try {
    return realpathSync(file);
  } catch {
    return undefined;
  }
}

function list(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}
