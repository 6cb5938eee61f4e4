import { lstat, mkdtemp, readdir, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SandboxFailure } from '../contract/failures.ts';

const SOCKET_NAME = 'engine.sock';

const directoryName = /^hopx-engine-(\d+)-[A-Za-z0-9]{6}$/;

/** The longest path that a unix socket can have: macOS has 104 bytes with the final NUL, Linux 108. */
const MAX_SOCKET_PATH_BYTES = 103;

type SocketDirectory = { socketPath: string; remove(): Promise<void> };

/** A fresh directory that only this user can enter, and the path of a socket to make in it. */
export async function createSocketDirectory(parent = tmpdir()): Promise<SocketDirectory> {
  const directory = await mkdtemp(join(parent, `hopx-engine-${process.pid}-`));
  const socketPath = join(directory, SOCKET_NAME);
  const remove = () => rm(directory, { recursive: true, force: true });
  if (Buffer.byteLength(socketPath) <= MAX_SOCKET_PATH_BYTES) return { socketPath, remove };
  await remove();
  throw new SandboxFailure('ENGINE_UNAVAILABLE', {
    message: `The path of the temporary directory ${parent} is too long for a unix socket.`,
    remediation:
      'Ask the user to set TMPDIR to a shorter path, for instance TMPDIR=/tmp, and restart the server.',
  });
}

/** Removes the directories of this user's servers that were killed. */
export async function removeLeftovers(parent = tmpdir()): Promise<void> {
  const directories = (await readdir(parent)).flatMap((name) => {
    const pid = directoryName.exec(name)?.[1];
    return pid === undefined || isRunning(Number(pid)) ? [] : [join(parent, name)];
  });
  for (const directory of directories) {
    const stats = await lstat(directory).catch(() => undefined);
    if (stats?.isDirectory() !== true || stats.uid !== process.getuid?.()) continue;
    if (await isAnswering(join(directory, SOCKET_NAME))) continue;
    await rm(directory, { recursive: true, force: true });
  }
}

function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}

/** A server in another container may share this directory, though its pid means nothing here. */
function isAnswering(socketPath: string): Promise<boolean> {
  const socket = connect(socketPath);
  return new Promise<boolean>((resolve) => {
    socket.once('connect', () => resolve(true));
    socket.once('error', () => resolve(false));
  }).finally(() => socket.destroy());
}
