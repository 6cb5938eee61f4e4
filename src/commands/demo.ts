import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { openSession } from '../mcp/session.ts';

const hostConfig = z.object({
  mcpServers: z.record(
    z.string(),
    z.object({
      command: z.string(),
      args: z.array(z.string()),
      env: z.record(z.string(), z.string().transform(expand)).default({}),
    }),
  ),
});

type Step = { says: string; tool: string; args: Readonly<Record<string, unknown>>; fails?: boolean };

/** `$sandbox` stands for the sandbox that the first step made. */
const steps: readonly Step[] = [
  { says: 'A sandbox, with a lifetime', tool: 'create_sandbox', args: { timeout_seconds: 300 } },
  {
    says: 'Python keeps its variables',
    tool: 'execute_code',
    args: { sandbox_id: '$sandbox', code: 'x = 41' },
  },
  {
    says: '… so the next call can use them',
    tool: 'execute_code',
    args: { sandbox_id: '$sandbox', code: 'x + 1' },
  },
  {
    says: 'JavaScript',
    tool: 'execute_code',
    args: {
      sandbox_id: '$sandbox',
      language: 'javascript',
      code: "console.log([1, 2, 3].map((n) => n ** 2).join(' '), process.version)",
    },
  },
  {
    says: 'Bash, and the files of one call are there in the next',
    tool: 'execute_code',
    args: {
      sandbox_id: '$sandbox',
      language: 'bash',
      code: 'echo "hello from $(whoami)" > note.txt && ls -l && cat note.txt',
    },
  },
  {
    says: 'A program that fails: what happened, and what to do',
    tool: 'execute_code',
    args: { sandbox_id: '$sandbox', code: '1/0' },
    fails: true,
  },
  {
    says: 'A program that never ends: stopped, its output kept',
    tool: 'execute_code',
    args: { sandbox_id: '$sandbox', code: 'print("working…")\nwhile True: pass', timeout_seconds: 1 },
    fails: true,
  },
  { says: 'Deleting', tool: 'delete_sandbox', args: { sandbox_id: '$sandbox' } },
  { says: 'Deleting twice is no failure', tool: 'delete_sandbox', args: { sandbox_id: '$sandbox' } },
];

const created = z.object({ sandbox: z.object({ sandbox_id: z.string() }) });

/** Runs the command in mcp.json as a host would and prints the session; 0 if every step went as it says. */
export async function runDemo(
  write: (text: string) => void = (text) => process.stdout.write(text),
): Promise<number> {
  const root = fileURLToPath(new URL('..', import.meta.url));
  const { mcpServers } = hostConfig.parse(JSON.parse(await readFile(`${root}/mcp.json`, 'utf8')));
  const [server] = Object.values(mcpServers);
  if (server === undefined) throw new Error('mcp.json names no server');

  write(`$ ${server.command} ${server.args.join(' ')}\n`);
  const startedMs = performance.now();
  const session = await openSession({ ...server, cwd: root });
  write(`${session.serverName}: ${session.toolNames.join(', ')} (${elapsed(startedMs)})\n`);

  let sandboxId = '';
  let surprises = 0;
  for (const { says, tool, args, fails = false } of steps) {
    const given = Object.fromEntries(
      Object.entries(args).map(([name, value]) => [name, value === '$sandbox' ? sandboxId : value]),
    );
    const beganMs = performance.now();
    const result = await session.call(tool, given);
    const text = result.content.flatMap((block) => (block.type === 'text' ? [block.text] : [])).join('\n');
    write(`\n── ${says}\n→ ${tool} ${JSON.stringify(given)}\n${indent(text)}   (${elapsed(beganMs)})\n`);
    sandboxId = created.safeParse(result.structuredContent).data?.sandbox.sandbox_id ?? sandboxId;
    if ((result.isError ?? false) !== fails) surprises += 1;
    if (surprises > 0 && sandboxId === '') break;
  }
  await session.close();
  write(
    surprises === 0
      ? '\nAll of it went as it should.\n'
      : `\nSteps that did not go as they should: ${surprises}.\n`,
  );
  return surprises === 0 ? 0 : 1;
}

/** Hosts put a variable of their own where `${NAME}` stands; one that is not set stays as it is. */
function expand(value: string): string {
  return value.replace(/\$\{(\w+)\}/g, (unset, name: string) => process.env[name] ?? unset);
}

function indent(text: string): string {
  return text
    .split('\n')
    .map((line) => `   ${line}\n`)
    .join('');
}

function elapsed(sinceMs: number): string {
  return `${(performance.now() - sinceMs).toFixed(1)} ms`;
}
