import { z } from 'zod';

const shared = {
  /** Method and path, such as `POST /execute`; `*` stands for any method, and for one part of a path. */
  route: z.string().regex(/^(\*|[A-Z]+) \/\S*$/, 'must be a method and a path, such as "POST /execute"'),
  /** Which of the matching requests, counted from 1; all of them when left out. */
  nth: z.union([z.int().positive(), z.array(z.int().positive()).nonempty()]).optional(),
  probability: z.number().min(0).max(1).optional(),
  /** So many requests at most. */
  times: z.int().positive().optional(),
  delay_ms: z.int().min(0).max(600_000).optional(),
};
const when = z.enum(['before', 'after']).default('before');

const faultRule = z.discriminatedUnion('action', [
  z.strictObject({
    ...shared,
    action: z.literal('reply'),
    when,
    status: z.int().min(400).max(599),
    code: z.string().optional(),
    error: z.string().optional(),
    retry_after: z.number().nonnegative().optional(),
  }),
  z.strictObject({
    ...shared,
    action: z.literal('html'),
    when,
    status: z.int().min(200).max(599).default(502),
  }),
  z.strictObject({ ...shared, action: z.literal('reset'), when }),
  z.strictObject({ ...shared, action: z.literal('cut') }),
  z.strictObject({ ...shared, action: z.literal('delay'), delay_ms: shared.delay_ms.unwrap() }),
]);
export type Fault = z.output<typeof faultRule>;

/** What a file of faults holds (`serve --faults`). */
export const faultFile = z.strictObject({ seed: z.int().default(1), faults: z.array(faultRule).max(1000) });
export type FaultFile = z.output<typeof faultFile>;

/** The path of an agent's route is the one inside the sandbox's host. */
export type Faults = { choose(method: string, path: string): Fault | undefined };

/** Chooses by the rules in their order, the first that applies; the same seed and requests, the same faults. */
export function createFaults({ seed, faults }: FaultFile): Faults {
  const random = seededRandom(seed);
  const rules = faults.map((fault) => ({ fault, matches: matcher(fault.route), seen: 0, used: 0 }));
  return {
    choose(method, path) {
      let chosen: Fault | undefined;
      for (const rule of rules) {
        if (!rule.matches(method, path)) continue;
        rule.seen += 1;
        const { nth, times = Number.POSITIVE_INFINITY, probability = 1 } = rule.fault;
        const isTurn = nth === undefined || [nth].flat().includes(rule.seen);
        // Drawn for every match, so that a rule before does not shift what this one does.
        const isDrawn = random() < probability;
        if (chosen !== undefined || !isTurn || !isDrawn || rule.used >= times) continue;
        rule.used += 1;
        chosen = rule.fault;
      }
      return chosen;
    },
  };
}

function matcher(route: string): (method: string, path: string) => boolean {
  const [method = '', pattern = ''] = route.split(' ');
  const parts = pattern.split('/');
  return (givenMethod, path) => {
    const given = path.split('/');
    return (
      (method === '*' || method === givenMethod) &&
      given.length === parts.length &&
      parts.every((part, index) => part === '*' || part === given[index])
    );
  };
}

/** Mulberry32: small, and even enough for a drill. */
function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
