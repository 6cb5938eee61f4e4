import { setTimeout as delay } from 'node:timers/promises';
import { createHopxClient, type HopxClient } from '../../src/client/hopx-client.ts';
import { unlimitedRates } from '../../src/client/lanes.ts';
import { SandboxFailure } from '../../src/contract/failures.ts';
import { createLog } from '../../src/log.ts';
import { renderFailure } from '../../src/mcp/render.ts';
import { createRedactor } from '../../src/redactor.ts';
import { newCall } from '../support/calls.ts';
import { faults, startFaultyHopx } from '../support/faulty-hopx.ts';
import { seededRandom } from '../support/seeded-random.ts';
import { median, percent, quantile } from './support/measure.ts';
import { report } from './support/report.ts';

const CREATES = 1_200;
const RUNS_EACH = 2;
const FAULT_SHARE = 0.2;
const AT_ONCE = 20;
/** Waits of the client pass this much faster: a minute's sweep is over in half a second. */
const SPEED = 100;
const LIFETIME_SECONDS = 1_800;
/** Of no shape by which the redactor would know it. */
const API_KEY = 'opaque-key-of-no-known-shape';

type Mix = {
  name: string;
  seed: number;
  /** HopX's service is not known to pass on `env_vars`, by which servers of ours tell each other apart. */
  appliesEnv: boolean;
  /** Servers of ours on the same account. */
  servers: number;
  /** What another program asks for. */
  foreignSeconds(index: number): number;
  /** Beyond what the fingerprint promises; told, not judged. */
  isExtreme?: boolean;
};

const roundMinutes = (index: number) => 600 + 60 * (index % 60);
const mixes: readonly Mix[] = [
  { name: 'one server of ours', seed: 1, appliesEnv: true, servers: 1, foreignSeconds: roundMinutes },
  { name: 'two, env_vars applied', seed: 2, appliesEnv: true, servers: 2, foreignSeconds: roundMinutes },
  {
    name: 'two, env_vars dropped',
    seed: 3,
    appliesEnv: false,
    servers: 2,
    foreignSeconds: roundMinutes,
    isExtreme: true,
  },
  {
    name: 'foreign lifetimes as odd as ours',
    seed: 4,
    appliesEnv: true,
    servers: 1,
    foreignSeconds: (index) => LIFETIME_SECONDS + (index % 300),
    isExtreme: true,
  },
];

async function suffer({ seed, appliesEnv, servers, foreignSeconds }: Mix) {
  const random = seededRandom(seed);
  const posts = { creates: 0, executes: 0 };
  const hopx = await startFaultyHopx({
    random,
    appliesEnv,
    fault(route) {
      if (route === 'POST /v1/sandboxes') posts.creates += 1;
      if (route === 'POST /execute') posts.executes += 1;
      return random() < FAULT_SHARE ? faults[Math.floor(random() * faults.length)] : undefined;
    },
  });
  const foreign: string[] = [];
  const returned: string[] = [];
  const deleted = new Set<string>();
  const createMs: number[] = [];
  const failed = { creates: 0, executes: 0 };
  const failures = new Map<string, number>();
  const { redact, add } = createRedactor([API_KEY]);
  const told = { lines: 0, secrets: 0 };
  const tell = (line: string) => {
    told.lines += 1;
    told.secrets += hopx.secretsIn(line).length;
  };
  const fail = (kind: keyof typeof failed, error: unknown) => {
    failed[kind] += 1;
    if (error instanceof SandboxFailure) {
      const cost = { attempts: 1, queued_ms: 0, elapsed_ms: 0 };
      tell(redact(JSON.stringify(renderFailure(error, cost, new Date(), redact))));
    }
    const known = error instanceof SandboxFailure ? `${error.code}, ${error.facts.outcome}` : String(error);
    failures.set(`${kind}: ${known}`, (failures.get(`${kind}: ${known}`) ?? 0) + 1);
  };
  const call = () => newCall({ budgetMs: 120_000 });

  let next = 0;
  const use = async (client: HopxClient, index: number) => {
    if (index % 4 === 0) foreign.push(hopx.createForeign(foreignSeconds(index)));
    const startedMs = performance.now();
    const request = { template_name: 'code-interpreter', timeout_seconds: LIFETIME_SECONDS };
    const { id } = await client.createSandbox(request, call());
    returned.push(id);
    createMs.push(performance.now() - startedMs);
    for (let run = 0; run < RUNS_EACH; run += 1) {
      const running = client.execute(id, { code: `${index} ${run}` }, call());
      await running.catch((error: unknown) => fail('executes', error));
    }
    // Most go again: a list of all that ever was would be what takes the time.
    if (index % 5 === 0) return;
    deleted.add(id);
    await client.deleteSandbox(id, call()).catch(() => {});
  };
  const work = async (client: HopxClient) => {
    while (next < CREATES) {
      next += 1;
      await use(client, next).catch((error: unknown) => fail('creates', error));
    }
  };
  const clients = Array.from({ length: servers }, () =>
    createHopxClient({
      baseUrl: hopx.url,
      apiKey: API_KEY,
      rates: unlimitedRates,
      log: createLog({ level: 'debug', redact, write: tell }),
      onSecret: add,
      sleep: (ms, signal) => delay(ms / SPEED, undefined, { signal }),
    }),
  );
  await Promise.all(
    clients.flatMap((client) => Array.from({ length: AT_ONCE / servers }, () => work(client))),
  );
  for (const client of clients) await client.close();
  await hopx.close();

  const kept = new Set(returned);
  const ours = [...hopx.boxes.values()].filter(({ owner }) => owner === 'client');
  return {
    posts,
    failed,
    failures,
    told,
    createMs,
    executes: returned.length * RUNS_EACH,
    repeated: [...hopx.executions.values()].filter((times) => times > 1).length,
    leaked: ours.filter(({ id }) => !kept.has(id)).length,
    // Given to two callers, or deleted behind the back of the one it was given to.
    stolen:
      returned.length - kept.size + returned.filter((id) => !deleted.has(id) && !hopx.boxes.has(id)).length,
    foreign: foreign.length,
    touched: foreign.filter((id) => !hopx.boxes.has(id) || kept.has(id)).length,
  };
}

const results: ({ mix: Mix } & Awaited<ReturnType<typeof suffer>>)[] = [];
for (const mix of mixes) results.push({ mix, ...(await suffer(mix)) });

const createMs = results.flatMap((result) => result.createMs);
const sum = (figure: (result: (typeof results)[number]) => number) =>
  results.reduce((total, result) => total + figure(result), 0);
report({
  bench: 'leaks',
  table: [
    [
      `${percent(FAULT_SHARE)} of answers spoiled`,
      'creates',
      'failed',
      'extra POSTs',
      'leaked',
      'stolen',
      'foreign',
      'touched',
      'executes',
      'in doubt',
      'run twice',
      'lines told',
      'secrets in them',
    ],
    ...results.map(({ mix, ...found }) => [
      mix.name,
      CREATES,
      found.failed.creates,
      found.posts.creates - CREATES,
      found.leaked,
      found.stolen,
      found.foreign,
      found.touched,
      found.executes,
      found.failed.executes,
      found.repeated,
      found.told.lines,
      found.told.secrets,
    ]),
  ],
  n: CREATES * mixes.length,
  median: median(createMs),
  p99: quantile(createMs, 0.99),
  unit: 'ms a create, waits passing a hundred times faster',
  ratio: sum(({ posts }) => posts.creates) / (CREATES * mixes.length),
  baseline: 'one POST a create',
  targets: results
    .filter(({ mix }) => mix.isExtreme !== true)
    .flatMap(({ mix, executes, repeated, leaked, stolen, touched, told }) => [
      { says: `${mix.name}: executes`, figure: executes, target: 1_000, least: true },
      { says: `${mix.name}: executions repeated`, figure: repeated, target: 0 },
      { says: `${mix.name}: sandboxes leaked`, figure: leaked, target: 0 },
      { says: `${mix.name}: sandboxes stolen from another call`, figure: stolen, target: 0 },
      { says: `${mix.name}: foreign sandboxes touched`, figure: touched, target: 0 },
      { says: `${mix.name}: secrets in log lines and failures`, figure: told.secrets, target: 0 },
    ]),
  notes: [
    'The last two are told, not judged: there only the odd lifetime tells sandboxes apart, and hundreds are made each second.',
    ...results.flatMap(({ mix, failures }) =>
      [...failures]
        .filter(([kind]) => kind.startsWith('creates'))
        .map(([kind, times]) => `${mix.name}: ${times} ${kind}`),
    ),
  ],
  details: { mixes: results.map(({ mix, createMs: _, failures, ...rest }) => ({ mix: mix.name, ...rest })) },
});
