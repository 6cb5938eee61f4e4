import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Fingerprint } from '../../src/client/journal.ts';
import { silentLog } from '../../src/log.ts';
import { createLedger, processStart } from '../../src/sandboxes/ledger.ts';
import { newCall } from '../support/calls.ts';

const account = { baseUrl: 'https://api.hopx.dev', apiKey: 'hopx_live_abcdefghijkl.secret' };
const intent = (timeoutSeconds: number): Fingerprint => ({
  timeoutSeconds,
  template: 'base',
  sinceMs: 1_000,
});
const DEAD = 111;
const ALIVE = 222;

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'ledger-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

/** A server that ran as `pid`; process 111 is dead for everybody but itself, 222 and 333 live. */
function server(pid: number, more: Partial<Parameters<typeof createLedger>[0]> = {}) {
  const owner = `00000000-0000-0000-0000-${String(pid).padStart(12, '0')}`;
  const startOf = (other: number) => (other === DEAD && pid !== DEAD ? undefined : `start${other}`);
  return createLedger({
    account,
    owner,
    keepOnExit: false,
    folder,
    machine: 'here',
    pid,
    startOf,
    now: () => 2_000,
    log: silentLog,
    ...more,
  });
}

/** A client that notes what it is told to delete. */
function deleter() {
  const deleted: string[] = [];
  const swept: { timeoutSeconds: number; owner: string }[] = [];
  return {
    deleted,
    swept,
    client: {
      deleteSandbox: async (sandboxId: string) => {
        deleted.push(sandboxId);
        return { alreadyGone: false };
      },
      sweep: async ({ timeoutSeconds }: Fingerprint, owner: string) => {
        swept.push({ timeoutSeconds, owner });
        return 1;
      },
    },
  };
}

const reapAs = async (ledger: ReturnType<typeof server>) => {
  const seen = deleter();
  const count = await ledger.reap(seen.client, newCall);
  return { ...seen, count };
};

describe('what a dead server left', () => {
  test('its sandboxes are deleted, and creates that it did not see the end of are swept under its mark', async () => {
    const dead = server(DEAD);
    dead.intended(intent(1_801));
    dead.created(intent(1_801), 'left');
    dead.intended(intent(1_802));
    dead.created(intent(1_802), 'deleted');
    dead.deleted('deleted');
    dead.intended(intent(1_803));
    dead.dropped(intent(1_803));
    dead.intended(intent(1_804));
    const { deleted, swept, count } = await reapAs(server(333));
    expect(deleted).toEqual(['left']);
    expect(swept).toEqual([{ timeoutSeconds: 1_804, owner: dead.owner }]);
    expect(count).toBe(2);
    expect(readdirSync(folder)).toEqual([]);
  });

  test('is found once, whoever starts first', async () => {
    const dead = server(DEAD);
    dead.created(intent(1_801), 'left');
    const [first, second] = await Promise.all([reapAs(server(333)), reapAs(server(ALIVE))]);
    expect([...first.deleted, ...second.deleted]).toEqual(['left']);
  });

  test('stays written when it cannot be deleted, for the next server', async () => {
    server(DEAD).created(intent(1_801), 'left');
    const failing = { ...deleter().client, deleteSandbox: () => Promise.reject(new Error('down')) };
    expect(await server(DEAD + 1_000).reap(failing, newCall)).toBe(0);
    expect(readdirSync(folder)).toHaveLength(1);
  });

  test('a line that was cut by the crash is passed over', async () => {
    server(DEAD).created(intent(1_801), 'left');
    const [name = ''] = readdirSync(folder);
    writeFileSync(join(folder, name), `${readFileSync(join(folder, name), 'utf8')}{"event":"crea`);
    expect((await reapAs(server(333))).deleted).toEqual(['left']);
  });
});

describe('what is not touched', () => {
  const rows: { says: string; left: () => void }[] = [
    { says: 'a live server’s', left: () => server(ALIVE).created(intent(1_801), 'x') },
    {
      says: 'another account’s',
      left: () => server(DEAD, { account: { ...account, apiKey: 'other' } }).created(intent(1_801), 'x'),
    },
    {
      says: 'another machine’s, where the pid means nothing',
      left: () => server(DEAD, { machine: 'there' }).created(intent(1_801), 'x'),
    },
    {
      says: 'a server’s that was told to keep its sandboxes',
      left: () => server(DEAD, { keepOnExit: true }).created(intent(1_801), 'x'),
    },
    { says: 'a file that is no ledger', left: () => writeFileSync(join(folder, 'notes.txt'), 'x') },
  ];
  for (const { says, left } of rows) {
    test(says, async () => {
      left();
      const before = readdirSync(folder);
      expect(await reapAs(server(333))).toMatchObject({ deleted: [], swept: [], count: 0 });
      expect(readdirSync(folder)).toEqual(before);
    });
  }
});

test('a session that leaves nothing leaves no file, and the key is never written', () => {
  const ledger = server(ALIVE);
  ledger.intended(intent(1_801));
  const [name = ''] = readdirSync(folder);
  expect(readFileSync(join(folder, name), 'utf8')).not.toContain('secret');
  ledger.created(intent(1_801), 'a');
  ledger.close();
  expect(readdirSync(folder)).toHaveLength(1);
  ledger.deleted('a');
  ledger.close();
  expect(readdirSync(folder)).toEqual([]);
});

test('a folder that cannot be written costs the ledger, not the server', () => {
  writeFileSync(join(folder, 'file'), '');
  const ledger = server(ALIVE, { folder: join(folder, 'file', 'below') });
  expect(() => ledger.created(intent(1_801), 'a')).not.toThrow();
});

test('a process is told from another with the same pid by its start', () => {
  expect(processStart(process.pid)).toMatch(/^\d+$/);
  expect(processStart(2 ** 22 + 1)).toBeUndefined();
});
