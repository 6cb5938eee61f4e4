import { setTimeout as delay } from 'node:timers/promises';
import type { Ran } from '../client/agent-client.ts';
import type { HopxClient } from '../client/hopx-client.ts';
import { type Call, ownCall } from '../contract/call.ts';
import { SandboxFailure } from '../contract/failures.ts';
import type { ExecuteReply, ExecuteRequest } from '../contract/hopx.ts';
import type { Language } from '../contract/results.ts';
import type { Program } from './execution.ts';
import type { LiveOutput } from './live-output.ts';

type DetachedOptions = {
  client: Pick<HopxClient, 'startCommand' | 'runCommand' | 'writeFile'>;
  program: Program;
  request: ExecuteRequest;
  live: LiveOutput;
  outputLimitChars: number;
  /** The caller's, for the start; its signal stops the run. */
  call: Call;
  now: () => number;
  sleep?: (ms: number, signal: AbortSignal) => Promise<unknown>;
};

/** What a file with the program is called, and what runs it. */
const runners: Record<Language, { file: string; run: string }> = {
  python: { file: 'main.py', run: 'python3 -u' },
  javascript: { file: 'main.mjs', run: 'node' },
  bash: { file: 'main.sh', run: 'bash' },
  go: { file: 'main.go', run: 'go run' },
};

/** Each look is a request against the agent's limit of 300 a minute; after a while nobody needs seconds. */
const FIRST_LOOK_MS = 1_000;
const LAST_LOOK_MS = 10_000;
const LOOK_GROWTH = 1.5;
/** What one look takes on the wire; a lost one is made up for by the next. */
const LOOK_BUDGET_MS = 15_000;
/** The sandbox's own clock ends the program; ours only when that has failed. */
const GRACE_SECONDS = 30;

const statusLine = /^HOPX (-?\d*) (\d+) (\d+)$/m;

/** Where a detached run keeps all that it prints, in `stdout` and `stderr`. */
export function detachedFolder(executionId: string): string {
  return `/tmp/hopx-runs/${executionId}`;
}

/**
 * Runs a program too long for one request in the background of its sandbox, its output in files there. It has
 * no Python variables of other runs, no `result` and no figures.
 */
export async function runDetached(options: DetachedOptions): Promise<Ran> {
  const { client, program, request, live, outputLimitChars, call, now } = options;
  const { sleep = (ms, signal) => delay(ms, undefined, { signal }) } = options;
  const { sandboxId, executionId, language, timeoutSeconds } = program;
  const folder = detachedFolder(executionId);
  const { file, run } = runners[language];
  const lookCall = (): Call => ({ ...call, deadlineMs: now() + LOOK_BUDGET_MS });

  await client.writeFile(sandboxId, { path: `${folder}/${file}`, content: request.code }, call);
  // `timeout` leads a process group of its own, which is what a stop has to hit.
  const script = `timeout -k 5 ${Math.ceil(timeoutSeconds)} ${run} ${folder}/${file} > ${folder}/stdout 2> ${folder}/stderr < /dev/null & echo $! > ${folder}/pid; wait $!; echo $? > ${folder}/exit`;
  const { code: _code, language: _language, ...where } = request;
  const startedMs = now();
  await client.startCommand(
    sandboxId,
    {
      ...where,
      command: 'setsid',
      args: ['bash', '-c', script],
      timeout: timeoutSeconds + GRACE_SECONDS,
      name: executionId,
    },
    call,
  );

  /** The end of both streams and, once there is one, the exit code. */
  const look = async () => {
    const sizes = `$(cat ${folder}/exit 2>/dev/null) $(stat -c %s ${folder}/stdout) $(stat -c %s ${folder}/stderr)`;
    const { stdout } = await client.runCommand(sandboxId, `echo "HOPX ${sizes}"`, lookCall());
    const [, exit = '', out = '0', err = '0'] = statusLine.exec(stdout) ?? [];
    return { exitCode: exit === '' ? undefined : Number(exit), out: Number(out), err: Number(err) };
  };

  const read = async (stream: 'stdout' | 'stderr', bytes: number): Promise<string> => {
    const path = `${folder}/${stream}`;
    const most = 2 * outputLimitChars;
    const command =
      bytes <= most
        ? `cat ${path}`
        : `head -c ${outputLimitChars} ${path}; tail -c ${outputLimitChars} ${path}`;
    return (await client.runCommand(sandboxId, command, lookCall())).stdout;
  };

  /** Not on the caller's signal, which is what stops it. */
  const stop = async () => {
    await client
      .runCommand(sandboxId, `kill -KILL -- -$(cat ${folder}/pid)`, ownCall(LOOK_BUDGET_MS))
      .catch(() => {});
  };

  let told = 0;
  for (let waitMs = FIRST_LOOK_MS; ; waitMs = Math.min(LAST_LOOK_MS, waitMs * LOOK_GROWTH)) {
    try {
      await sleep(waitMs, call.signal);
    } catch {
      await stop();
      throw new SandboxFailure('CANCELLED', { outcome: 'performed' });
    }
    const seen = await look().catch(() => undefined);
    const overdue = now() - startedMs > (timeoutSeconds + GRACE_SECONDS) * 1_000;
    if (seen === undefined && !overdue) continue;
    if (seen?.exitCode === undefined && !overdue) {
      const fresh = await client
        .runCommand(
          sandboxId,
          `tail -c +${told + 1} ${folder}/stdout | head -c ${outputLimitChars}`,
          lookCall(),
        )
        .catch(() => ({ stdout: '' }));
      told += Buffer.byteLength(fresh.stdout);
      live.add('stdout', fresh.stdout);
      continue;
    }
    if (overdue) await stop();
    return replyOf(seen ?? { exitCode: 124, out: 0, err: 0 }, {
      stdout: await read('stdout', seen?.out ?? 0),
      stderr: await read('stderr', seen?.err ?? 0),
      seconds: (now() - startedMs) / 1_000,
      timeoutSeconds,
      limit: 2 * outputLimitChars,
      folder,
    });
  }
}

type Seen = { exitCode: number | undefined; out: number; err: number };

function replyOf(
  { exitCode = 124, out, err }: Seen,
  {
    stdout,
    stderr,
    seconds,
    timeoutSeconds,
    limit,
    folder,
  }: {
    stdout: string;
    stderr: string;
    seconds: number;
    timeoutSeconds: number;
    limit: number;
    folder: string;
  },
): Ran {
  const cut = [
    { stream: 'stdout' as const, total_chars: out, full_output_path: `${folder}/stdout` },
    { stream: 'stderr' as const, total_chars: err, full_output_path: `${folder}/stderr` },
  ].filter(({ total_chars: total }) => total > limit);
  // 124 is what `timeout` says, 137 what it says after it had to kill; a program may say either at any time.
  const ranOut = (exitCode === 124 || exitCode === 137) && seconds >= timeoutSeconds;
  const reply: ExecuteReply = {
    success: exitCode === 0,
    stdout,
    stderr,
    exit_code: exitCode,
    execution_time: seconds,
    ...(ranOut && { ended_by: 'timeout' }),
    ...(cut.length > 0 && { truncated: cut }),
  };
  return { reply, httpStatus: 200 };
}
