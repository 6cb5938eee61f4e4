import { HOPX_RATES_PER_MINUTE } from '../contract/hopx.ts';
import { createGovernor, type Governor } from './governor.ts';
import { createJointGovernor } from './joint-governor.ts';
import { createLane, type Lane } from './lane.ts';
import type { Operation } from './operations.ts';

/** Requests in a window; Infinity where the server sets no limit. */
export type Rates = { control: number; create: number; agent: number; windowMs: number };

/** HopX's documented rates; its headers overrule them. */
export const hopxRates: Rates = { ...HOPX_RATES_PER_MINUTE, windowMs: 60_000 };

/** For a server that limits nothing. */
export const unlimitedRates: Rates = {
  control: Infinity,
  create: Infinity,
  agent: Infinity,
  windowMs: 60_000,
};

export type GovernedLane = { lane: Lane; governor: Governor };

type Lanes = {
  of(operation: Operation, sandboxId: string): GovernedLane;
  /** Lets go of a sandbox's lane when the sandbox is gone. */
  drop(sandboxId: string): void;
  close(): void;
};

/** Deletes and token renewals free what others wait for, so a share of the control limit is theirs alone. */
const URGENT_SHARE = 0.05;

/** One lane for each rate limit: the control plane, creation, and every sandbox's agent. */
export function createLanes(rates: Rates, concurrency: number): Lanes {
  const governor = (limit: number, reserveShare = 0) =>
    createGovernor({ limit, windowMs: rates.windowMs, reserveShare });
  const laneFor = (over: Governor): GovernedLane => ({
    governor: over,
    lane: createLane({ governor: over, concurrency }),
  });
  const control = laneFor(governor(rates.control, URGENT_SHARE));
  const create = laneFor(createJointGovernor(governor(rates.create), control.governor));
  const agents = new Map<string, GovernedLane>();

  const agent = (sandboxId: string): GovernedLane => {
    const lane = agents.get(sandboxId) ?? laneFor(governor(rates.agent));
    agents.set(sandboxId, lane);
    return lane;
  };

  return {
    of({ lane }, sandboxId) {
      if (lane === 'agent') return agent(sandboxId);
      return lane === 'create' ? create : control;
    },
    drop(sandboxId) {
      agents.get(sandboxId)?.lane.close();
      agents.delete(sandboxId);
    },
    close() {
      for (const { lane } of [control, create, ...agents.values()]) lane.close();
    },
  };
}
