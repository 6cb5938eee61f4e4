import { describe, expect, test } from 'vitest';
import { runDoctor } from '../../src/commands/doctor.ts';
import { SandboxFailure } from '../../src/contract/failures.ts';
import { startScriptedServer } from '../support/scripted-server.ts';

type Machine = {
  /** Programs that are installed. */
  has?: readonly string[];
  isTerminal?: boolean;
  says?: 'yes' | 'no';
  env?: Record<string, string>;
  installExitCode?: number;
  /** Sandboxes are made without bubblewrap too. */
  worksWithout?: boolean;
  platform?: NodeJS.Platform;
};

const unavailable = new SandboxFailure('ENGINE_UNAVAILABLE', {
  message: 'bubblewrap is not installed.',
  remediation: 'Ask the user to run this.',
});

/** Runs the command on a machine of which everything is known; sandboxes work there once bwrap is installed. */
async function doctor(args: readonly string[], machine: Machine = {}) {
  const installed = new Set(machine.has ?? ['bwrap', 'python3', 'apt-get']);
  const ran: string[] = [];
  const asked: string[] = [];
  let output = '';
  const exitCode = await runDoctor(args, {
    env: machine.env ?? {},
    write: (text) => {
      output += text;
    },
    run: async (command) => {
      // As root there is no sudo before it.
      const plain = command.filter((word) => word !== 'sudo');
      ran.push(plain.join(' '));
      if (machine.installExitCode !== undefined) return machine.installExitCode;
      if (plain.includes('bubblewrap')) installed.add('bwrap');
      return 0;
    },
    ask: async (question) => {
      asked.push(question.replaceAll('sudo ', ''));
      return machine.says === 'yes';
    },
    isTerminal: machine.isTerminal ?? true,
    platform: machine.platform ?? 'linux',
    has: async (program) => installed.has(program),
    probe: async () => {
      if (installed.has('bwrap')) return { isolation: 'A wall.', languages: ['python', 'bash'] };
      if (machine.worksWithout) return { isolation: 'A fence, lower.', languages: ['python'] };
      throw unavailable;
    },
  });
  return { exitCode, output: output.replaceAll('sudo ', ''), ran, asked };
}

const update = 'apt-get update';
const installBwrap = 'apt-get install -y bubblewrap';
const bare = ['python3', 'apt-get'];

describe('doctor says', () => {
  test('that all is well', async () => {
    const { exitCode, output, ran, asked } = await doctor([]);
    expect(output).toContain('✓ Sandboxes run on this machine. A wall. Languages: python, bash.\n');
    expect({ exitCode, ran, asked }).toEqual({ exitCode: 0, ran: [], asked: [] });
  });

  test('what is missing, why nothing works, and what to do', async () => {
    const { exitCode, output } = await doctor([], { has: ['apt-get'] });
    expect(output.split('\n').slice(1, -1)).toEqual([
      '✗ bubblewrap is not installed',
      '✗ python3 is not installed',
      '✗ The embedded engine does not work: bubblewrap is not installed.',
      '  → Run this.',
    ]);
    expect(exitCode).toBe(1);
  });

  test('what stands in for bubblewrap, and that it is enough', async () => {
    const { exitCode, output } = await doctor([], { has: bare, worksWithout: true });
    expect(output.split('\n').slice(1, -1)).toEqual([
      '! bubblewrap is not installed; sandboxes are made without it',
      '✓ Sandboxes run on this machine. A fence, lower. Languages: python.',
    ]);
    expect(exitCode).toBe(0);
  });

  test('of a Mac nothing that only Linux needs', async () => {
    const { output, ran } = await doctor(['--fix', '--yes'], {
      has: [],
      platform: 'darwin',
      worksWithout: true,
    });
    expect(output.split('\n').slice(1, -1)).toEqual([
      '✓ Sandboxes run on this machine. A fence, lower. Languages: python.',
    ]);
    expect(ran).toEqual([]);
  });

  test('what is wrong with the environment, although sandboxes work', async () => {
    const { exitCode, output } = await doctor([], { env: { LOG_LEVEL: 'loud', CALL_BUDGET_SECONDS: '1' } });
    expect(output).toMatch(/✗ CALL_BUDGET_SECONDS must be[^\n]*\n✗ LOG_LEVEL must be[^\n]*\n✓ Sandboxes run/);
    expect(exitCode).toBe(1);
  });

  test.each([
    [
      'that HopX takes the key',
      { body: { data: [] } },
      /✓ HopX at .* accepts the key; sandboxes there: 0\n/,
      0,
    ],
    [
      'that HopX does not take the key',
      { status: 401 },
      /✗ HopX at .* does not work: .*\n {2}→ .*HOPX_API_KEY/,
      1,
    ],
  ] as const)('%s, and mends nothing', async (_says, reply, finding, exitCode) => {
    const server = await startScriptedServer(() => ({ 'GET /v1/sandboxes': reply }));
    const env = { HOPX_API_KEY: 'hopx_live_abc.s3cret', HOPX_BASE_URL: server.url };
    const told = await doctor(['--fix', '--yes'], { env, has: bare }).finally(server.close);
    expect(told.output).toMatch(finding);
    expect(told.output).not.toContain('s3cret');
    expect(told).toMatchObject({ exitCode, ran: [] });
  });
});

describe('doctor mends', () => {
  type Row = readonly [
    says: string,
    args: readonly string[],
    machine: Machine,
    done: { ran: readonly string[]; asks: number; exitCode: number },
  ];
  const both = [update, installBwrap];
  const cases: readonly Row[] = [
    ['nothing unasked', [], { has: bare }, { ran: [], asks: 0, exitCode: 1 }],
    ['nothing for --yes alone', ['--yes'], { has: bare }, { ran: [], asks: 0, exitCode: 1 }],
    ['what the user agrees to', ['--fix'], { has: bare, says: 'yes' }, { ran: both, asks: 1, exitCode: 0 }],
    ['nothing the user does not', ['--fix'], { has: bare, says: 'no' }, { ran: [], asks: 1, exitCode: 1 }],
    ['without asking for --yes', ['--fix', '--yes'], { has: bare }, { ran: both, asks: 0, exitCode: 0 }],
    [
      'what is missing although sandboxes work without it',
      ['--fix', '--yes'],
      { has: bare, worksWithout: true },
      { ran: both, asks: 0, exitCode: 0 },
    ],
    ['without asking for -y', ['--fix', '-y'], { has: bare }, { ran: both, asks: 0, exitCode: 0 }],
    [
      'nothing where nobody can be asked',
      ['--fix'],
      { has: bare, isTerminal: false, says: 'yes' },
      { ran: [], asks: 0, exitCode: 1 },
    ],
    ['nothing where nothing is missing', ['--fix', '--yes'], {}, { ran: [], asks: 0, exitCode: 0 }],
    [
      'nothing without a package manager',
      ['--fix', '--yes'],
      { has: ['python3'] },
      { ran: [], asks: 0, exitCode: 1 },
    ],
    [
      'both packages at once',
      ['--fix', '--yes'],
      { has: ['apt-get'] },
      { ran: [update, `${installBwrap} python3`], asks: 0, exitCode: 0 },
    ],
    [
      'with the package manager that is there',
      ['--fix', '--yes'],
      { has: ['python3', 'apk'] },
      { ran: ['apk add bubblewrap'], asks: 0, exitCode: 0 },
    ],
    [
      'with the names that Arch has for both',
      ['--fix', '--yes'],
      { has: ['pacman'] },
      { ran: ['pacman -Sy', 'pacman -S --noconfirm bubblewrap python'], asks: 0, exitCode: 0 },
    ],
  ];
  test.each(cases)('%s', async (_says, args, machine, { asks, ...done }) => {
    const { ran, asked, exitCode } = await doctor(args, machine);
    expect({ ran, exitCode }).toEqual(done);
    expect(asked).toHaveLength(asks);
  });

  test('and says what it runs', async () => {
    const { output } = await doctor(['--fix', '--yes'], { has: bare });
    expect(output).toContain(`  $ ${update}; ${installBwrap}\n`);
  });

  test('and asks for what it runs, and says how to do it by oneself', async () => {
    const { asked, output } = await doctor(['--fix'], { has: bare, says: 'no' });
    expect(asked).toEqual([`Run \`${update}; ${installBwrap}\`?`]);
    expect(output).toContain(`  → Not installed. To do it yourself: ${update}; ${installBwrap}\n`);
  });

  test('and says what did not work', async () => {
    const { exitCode, output } = await doctor(['--fix', '--yes'], { has: bare, installExitCode: 100 });
    expect(output).toContain(`✗ ${installBwrap} ended with exit code 100\n`);
    expect(exitCode).toBe(1);
  });

  test('and says what to install where it finds no package manager', async () => {
    const { output } = await doctor(['--fix', '--yes'], { has: [] });
    expect(output).toContain("  → Install bubblewrap and python3 with your system's package manager.\n");
  });
});

test.each([
  [['--help'], 0],
  [['-h'], 0],
  [['--fixx'], 2],
  [['please'], 2],
  [['--fix=yes'], 2],
] as const)('%j prints how it is used', async (args, exitCode) => {
  const printed = await doctor(args, { has: bare });
  expect(printed.output).toMatch(
    /^Says in plain lines .*\n\n {2}node dist\/main\.js doctor \[--fix\] \[--yes\]\n/,
  );
  expect(printed).toMatchObject({ exitCode, ran: [] });
});
