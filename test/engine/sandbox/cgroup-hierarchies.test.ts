import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { findHierarchies } from '../../../src/engine/sandbox/cgroup-hierarchies.ts';

type Case = {
  says: string;
  /** /proc/self/cgroup. */
  own: string[];
  /** What is mounted: the place, the file system with its options, and the part of the hierarchy that is seen. */
  mounts: [place: string, type: 'cgroup' | 'cgroup2', options: string, root?: string][];
  /** Cgroups with what their files say; those of others have no `cgroup.procs` that could be written to. */
  cgroups: Record<string, Record<string, string>>;
  others?: Record<string, Record<string, string>>;
  found: { version: 1 | 2; directory: string; controllers: string[] }[];
};

const unified = ['unified', 'cgroup2', 'rw'] as const;
const enabled = { 'cgroup.subtree_control': 'cpuset memory pids\n' };
const slice = 'unified/user.slice/app.slice';
const terminal = '0::/user.slice/app.slice/terminal.scope';

const cases: Case[] = [
  {
    says: 'version 1, each controller on its own',
    own: ['8:pids:/', '4:memory:/jobs/7', '1:cpu:/', '0::/'],
    mounts: [
      ['cpu', 'cgroup', 'rw,cpu'],
      ['memory', 'cgroup', 'rw,memory'],
      ['pids', 'cgroup', 'rw,pids'],
      [...unified],
    ],
    cgroups: { cpu: {}, 'memory/jobs/7': {}, pids: {}, unified: {} },
    found: [
      { version: 1, directory: 'memory/jobs/7', controllers: ['memory'] },
      { version: 1, directory: 'pids', controllers: ['pids'] },
      { version: 1, directory: 'cpu', controllers: ['cpu'] },
    ],
  },
  {
    says: 'version 1, of which a container sees its own part',
    own: ['2:memory,pids:/docker/7'],
    mounts: [['both', 'cgroup', 'rw,memory,pids', '/docker/7']],
    cgroups: { both: {} },
    found: [{ version: 1, directory: 'both', controllers: ['memory', 'pids'] }],
  },
  {
    says: 'version 1 that the server may not write to',
    own: ['4:memory:/'],
    mounts: [['memory', 'cgroup', 'rw,memory']],
    cgroups: {},
    found: [],
  },
  {
    says: 'version 2, delegated to the user: the slice of the session',
    own: [terminal],
    mounts: [[...unified]],
    cgroups: {
      [slice]: enabled,
      [`${slice}/terminal.scope`]: { 'memory.max': 'max\n', 'cpu.max': 'max 1\n' },
    },
    found: [{ version: 2, directory: slice, controllers: ['memory', 'pids'] }],
  },
  {
    says: 'version 2, where the slice is not ours',
    own: [terminal],
    mounts: [[...unified]],
    cgroups: { [`${slice}/terminal.scope`]: {} },
    others: { [slice]: enabled },
    found: [],
  },
  {
    says: 'version 2, where leaving the own cgroup would be leaving its limits',
    own: [terminal],
    mounts: [[...unified]],
    cgroups: { [slice]: enabled, [`${slice}/terminal.scope`]: { 'memory.max': '1073741824\n' } },
    found: [],
  },
  {
    says: 'version 2 without controllers',
    own: [terminal],
    mounts: [[...unified]],
    cgroups: { [slice]: {}, [`${slice}/terminal.scope`]: {} },
    found: [],
  },
  {
    says: 'both, with controllers in each',
    own: ['4:memory:/', terminal],
    mounts: [['memory', 'cgroup', 'rw,memory'], [...unified]],
    cgroups: { memory: {}, [slice]: enabled, [`${slice}/terminal.scope`]: {} },
    found: [
      { version: 1, directory: 'memory', controllers: ['memory'] },
      { version: 2, directory: slice, controllers: ['pids'] },
    ],
  },
  {
    says: 'a cgroup outside what the namespace shows',
    own: ['0::/../server.scope'],
    mounts: [[...unified]],
    cgroups: { unified: enabled, server: {} },
    found: [],
  },
  { says: 'a machine without cgroups', own: [], mounts: [], cgroups: {}, found: [] },
];

test.each(cases)('finds where cgroups can be made: $says', ({ own, mounts, cgroups, others = {}, found }) => {
  const root = mkdtempSync(path.join(tmpdir(), 'hierarchies-'));
  onTestFinished(() => rmSync(root, { recursive: true }));
  const ours = Object.entries(cgroups).map(
    ([directory, files]) => [directory, { 'cgroup.procs': '', ...files }] as const,
  );
  for (const [directory, files] of [...ours, ...Object.entries(others)]) {
    mkdirSync(path.join(root, directory), { recursive: true });
    for (const [file, text] of Object.entries(files)) writeFileSync(path.join(root, directory, file), text);
  }
  const mountinfo = mounts.map(
    ([place, type, options, seen = '/']) =>
      `33 31 0:30 ${seen} ${path.join(root, place)} rw,relatime shared:9 - ${type} ${type} ${options}\n`,
  );
  const texts: Record<string, string> = {
    '/proc/self/cgroup': own.map((line) => `${line}\n`).join(''),
    '/proc/self/mountinfo': `22 1 254:1 / / rw - ext4 /dev/sda rw,memory\n${mountinfo.join('')}`,
  };
  const readText = (file: string) => {
    try {
      return texts[file] ?? readFileSync(file, 'utf8');
    } catch {
      return undefined;
    }
  };
  const relative = findHierarchies({ readText }).map((hierarchy) => ({
    ...hierarchy,
    directory: path.relative(root, hierarchy.directory),
  }));
  expect(relative).toEqual(found);
});
