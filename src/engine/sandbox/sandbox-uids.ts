import { readdirSync, statSync } from 'node:fs';

/** Below the uids that systemd gives away by itself (61184 to 65519), above those of people. */
const FIRST_UID = 61_000;
const UIDS = 184;

/** Users for the sandboxes of a root; two servers hardly begin with the same one. */
export function createSandboxUids(first = process.pid) {
  const given = new Set<number>();
  let next = first;
  return {
    /** One that no other sandbox of this server has until it is given back, and none of those that are taken. */
    take(taken: ReadonlySet<number> = new Set()): number {
      for (let tries = 0; tries < UIDS; tries += 1) {
        const uid = FIRST_UID + (next++ % UIDS);
        if (given.has(uid) || taken.has(uid)) continue;
        given.add(uid);
        return uid;
      }
      throw new Error(`all ${UIDS} users that sandboxes can be are taken`);
    },
    giveBack: (uid: number) => given.delete(uid),
  };
}

/** Of everything that runs on this machine; where there is no user namespace, the kernel counts processes by user. */
export function uidsOfProcesses(): Set<number> {
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  return new Set(pids.map((pid) => statSync(`/proc/${pid}`, { throwIfNoEntry: false })?.uid ?? 0));
}
