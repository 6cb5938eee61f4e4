/**
 * What repeating an operation means: `read` changes nothing, `idempotent` may be done twice, `create` leaves
 * a sandbox that costs money, `exec` runs somebody's code.
 */
export type Safety = 'read' | 'idempotent' | 'create' | 'exec';

export type Operation = {
  method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** Route template: `{id}` is the sandbox; agent routes hang below the sandbox's host. */
  route: string;
  plane: 'control' | 'agent';
  lane: 'control' | 'create' | 'agent';
  safety: Safety;
  /** Who goes first in a lane; from `URGENT` upwards the lane's reserve may be used. */
  priority: number;
  /** How long the server may take until its status line; a run adds its own time limit to this. */
  timeoutMs: number;
};

/** From this priority an operation frees something that others wait for, so a lane keeps a reserve for it. */
export const URGENT = 20;

/** Every request that the client makes, with all that depends on which one it is. */
export const operations = {
  refreshToken: {
    method: 'POST',
    route: '/v1/sandboxes/{id}/token/refresh',
    plane: 'control',
    lane: 'control',
    // Its answer is the point, so it is repeated until one can be read.
    safety: 'read',
    priority: 30,
    timeoutMs: 10_000,
  },
  deleteSandbox: {
    method: 'DELETE',
    route: '/v1/sandboxes/{id}',
    plane: 'control',
    lane: 'control',
    safety: 'idempotent',
    priority: URGENT,
    timeoutMs: 30_000,
  },
  getSandbox: {
    method: 'GET',
    route: '/v1/sandboxes/{id}',
    plane: 'control',
    lane: 'control',
    safety: 'read',
    priority: 0,
    timeoutMs: 15_000,
  },
  listSandboxes: {
    method: 'GET',
    route: '/v1/sandboxes',
    plane: 'control',
    lane: 'control',
    safety: 'read',
    priority: 0,
    timeoutMs: 15_000,
  },
  findSandboxes: {
    method: 'GET',
    route: '/v1/sandboxes',
    plane: 'control',
    lane: 'control',
    safety: 'read',
    priority: -20,
    timeoutMs: 15_000,
  },
  createSandbox: {
    method: 'POST',
    route: '/v1/sandboxes',
    plane: 'control',
    lane: 'create',
    safety: 'create',
    priority: -10,
    // Creation took minutes in reports (hopx-ai/hopx issue 39); a shorter limit would only lose the answer.
    timeoutMs: 180_000,
  },
  execute: {
    method: 'POST',
    route: '/execute',
    plane: 'agent',
    lane: 'agent',
    safety: 'exec',
    priority: 0,
    timeoutMs: 15_000,
  },
  readEnv: {
    method: 'GET',
    route: '/env',
    plane: 'agent',
    lane: 'agent',
    safety: 'read',
    priority: -20,
    timeoutMs: 5_000,
  },
  startCommand: {
    method: 'POST',
    route: '/commands/background',
    plane: 'agent',
    lane: 'agent',
    safety: 'exec',
    priority: 0,
    timeoutMs: 15_000,
  },
  runCommand: {
    method: 'POST',
    route: '/commands/run',
    plane: 'agent',
    lane: 'agent',
    safety: 'exec',
    priority: 0,
    timeoutMs: 15_000,
  },
  downloadFile: {
    method: 'GET',
    route: '/files/download',
    plane: 'agent',
    lane: 'agent',
    safety: 'read',
    priority: 0,
    timeoutMs: 30_000,
  },
  setEnv: {
    method: 'PATCH',
    route: '/env',
    plane: 'agent',
    lane: 'agent',
    safety: 'idempotent',
    priority: -20,
    timeoutMs: 5_000,
  },
  writeFile: {
    method: 'POST',
    route: '/files/write',
    plane: 'agent',
    lane: 'agent',
    safety: 'idempotent',
    priority: 0,
    timeoutMs: 30_000,
  },
} as const satisfies Record<string, Operation>;

export type OperationName = keyof typeof operations;
