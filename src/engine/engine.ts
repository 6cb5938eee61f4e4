import { availableParallelism } from 'node:os';
import { getRequestListener } from '@hono/node-server';
import type { Log } from '../log.ts';
import { createAgent } from './agent.ts';
import { newApiKey } from './api-key.ts';
import { type Clock, systemClock } from './clock.ts';
import { createControlPlane } from './control-plane.ts';
import type { Site } from './control-routes.ts';
import type { ErrorStyle } from './execution.ts';
import { createFaults, type FaultFile } from './faults.ts';
import { createHttpApi } from './http-api.ts';
import { type ListenOn, openListener } from './listener.ts';
import { createRateLimits, type RateFigures } from './rate-limits.ts';
import { type Launcher, openLauncher } from './sandbox/launcher.ts';
import { defaultLimits, type Limits } from './sandbox/limits.ts';
import { createTokens } from './tokens.ts';
import { createWebSockets } from './web-sockets.ts';

export type EngineOptions = {
  listen: ListenOn;
  maxSandboxes?: number | undefined;
  /** How failing programs are told: as HopX's service does (default), or as its error page says. */
  errors?: ErrorStyle | undefined;
  /** Requests a minute; without these none are refused. */
  rates?: RateFigures | undefined;
  /** Which requests fail, and how. */
  faults?: FaultFile | undefined;
  /** What sandboxes with internet access may reach: names, or `*.example.org`; undefined: every public host. */
  allowedHosts?: readonly string[] | undefined;
  log: Log;
  clock?: Clock | undefined;
  /** Opens what runs the sandboxes; its failure is `startEngine`'s. */
  launcher?: (() => Promise<Launcher>) | undefined;
};

export type Engine = {
  baseUrl: string;
  /** Where `baseUrl` is to be reached, when it is not a port. */
  socketPath?: string;
  apiKey: string;
  /** One sentence: what stands between a sandbox and this machine. */
  isolation: string;
  /** Destroys all sandboxes and lets go of everything; may be called again. */
  close(): Promise<void>;
};

/** As many as HopX's docs show for an account; each costs some 10 MiB when idle. */
export const DEFAULT_MAX_SANDBOXES = 10;

/** Starts a HopX-compatible API over sandboxes on this machine; throws `ENGINE_UNAVAILABLE` where none can run. */
export async function startEngine(options: EngineOptions): Promise<Engine> {
  const { listen, log, clock = systemClock, errors = 'live', maxSandboxes = DEFAULT_MAX_SANDBOXES } = options;
  const launcher = await (
    options.launcher ?? (() => openLauncher({ log, allowedHosts: options.allowedHosts }))
  )();
  const { languages, isolation } = launcher;
  const { baseUrl, socketPath, ...listener } = await openListener(listen).catch(async (failure: unknown) => {
    await launcher.close();
    throw failure;
  });

  const apiKey = newApiKey();
  const tokens = createTokens(clock);
  const controlPlane = createControlPlane({ launcher, clock, log, maxSandboxes });
  const agent = createAgent({ controlPlane, languages, clock, log });
  const site = { languages, isolation, baseUrl, resources: resources(defaultLimits) };
  const rateLimits = options.rates && createRateLimits(options.rates, clock);
  const faults = options.faults && createFaults(options.faults);
  const deps = { apiKey, tokens, controlPlane, agent, site, clock, errors, rateLimits, faults, log };
  const api = createHttpApi(deps);
  // Replaces this process's Response by one that needs no web streams: an answer takes 0.4 ms less.
  const handle = getRequestListener(api.fetch, { hostname: 'localhost' });
  listener.serve(handle, createWebSockets(deps));
  log.info('engine started', { base_url: baseUrl, socket_path: socketPath, isolation, languages });

  let closing: Promise<unknown> | undefined;
  return {
    baseUrl,
    ...(socketPath !== undefined && { socketPath }),
    apiKey,
    isolation,
    async close() {
      closing ??= Promise.all([controlPlane.close(), listener.close()]).finally(() => launcher.close());
      await closing;
    },
  };
}

/** What one sandbox may use, in HopX's units. */
function resources({ memoryBytes, workspaceBytes }: Limits): Site['resources'] {
  const mib = 1024 * 1024;
  return { vcpu: availableParallelism(), memory_mb: memoryBytes / mib, disk_mb: workspaceBytes / mib };
}
