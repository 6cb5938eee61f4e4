import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { temporaryPrefix } from './leftovers.ts';
import type { Rung } from './rungs.ts';

/** Things of this machine that no code in a sandbox may reach, and the code that tries. */
export type Walls = {
  /** Python that prints `held`, or what it could do and may not; then the pid of a process that it leaves behind. */
  attempt(rung: Rung): string;
  close(): void;
};

/** How the directories of these things begin. */
export const WALLS_PREFIX = 'hopx-outside-';

/** Puts up a file and a server, which are there until `close`. */
export async function putUpWalls(): Promise<Walls> {
  const directory = mkdtempSync(path.join(tmpdir(), temporaryPrefix(WALLS_PREFIX)));
  const file = path.join(directory, 'file');
  writeFileSync(file, 'outside');
  // For everybody, so that nothing but the walls is in the way of another user.
  chmodSync(directory, 0o777);
  chmodSync(file, 0o666);
  const server = createServer((socket) => socket.destroy()).unref();
  const port = await listen(server);
  return {
    attempt: ({ madeBy }) => {
      const sharesPids = madeBy === 'landlock' || madeBy === 'seatbelt';
      return attempts({ file, port, pid: sharesPids ? process.pid : null });
    },
    close() {
      server.close();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

function listen(server: Server): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', reject).listen(0, '127.0.0.1', () => {
      const address = server.address();
      resolve(typeof address === 'object' && address !== null ? address.port : 0);
    });
  });
}

type Outside = {
  file: string;
  port: number;
  /** Null where processes have other numbers inside. */
  pid: number | null;
};

const attempts = ({ file, port, pid }: Outside) => `
import json, os, socket, sys
file, port, pid = json.loads(${JSON.stringify(JSON.stringify([file, port, pid]))})

def overwrite_by_link():
    # What may be read but not written, and belongs to the user of the server.
    readable = os.path.join(os.environ["HOME"], "../agent/agent.pyc")
    os.link(readable, "linked")
    open("linked", "ab").close()

def read_arguments():
    import ctypes
    # CTL_KERN, KERN_PROCARGS2
    name, size = (ctypes.c_int * 3)(1, 49, pid), ctypes.c_size_t(65536)
    if ctypes.CDLL(None).sysctl(name, 3, ctypes.create_string_buffer(65536), ctypes.byref(size), None, 0) != 0:
        raise OSError

tries = {
    "read a file": lambda: open(file).close(),
    "list a directory": lambda: os.listdir(os.path.dirname(file)),
    "write a file": lambda: open(file, "a").close(),
    "make a file": lambda: open(file + ".new", "x").close(),
    "overwrite a file": overwrite_by_link,
    "connect to a server": lambda: socket.create_connection(("127.0.0.1", port), 1).close(),
}
if pid is not None:
    tries["signal a process"] = lambda: os.kill(pid, 0)
if sys.platform == "darwin":
    tries["read the environment of a process"] = read_arguments
done = []
for what, attempt in tries.items():
    try:
        attempt()
        done.append(what)
    except (OSError, AttributeError):
        pass
left = os.posix_spawn("/bin/sleep", ["sleep", "30"], {}, setsid=True) if pid is not None else ""
print(" and ".join(done) or "held", left, sep="\\n")
`;
