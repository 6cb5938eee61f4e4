import { Readable } from 'node:stream';
import { Pool } from 'undici';
import { z } from 'zod';
import type { Engine } from '../../src/engine/engine.ts';

const jsonObject = z.record(z.string(), z.unknown());

export type ApiReply = {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  body: Record<string, unknown>;
};

type ApiRequest = {
  json?: unknown;
  text?: string;
  /** Sent without a length. */
  chunks?: readonly string[];
  headers?: Record<string, string>;
  /** A sandbox's token. */
  token?: string;
  /** Sent as X-API-Key; the engine's own unless told otherwise, none when null. */
  key?: string | null;
  signal?: AbortSignal;
};

/** Speaks to an engine as a program does: over its socket or its port. */
export function apiClient({
  baseUrl,
  socketPath,
  apiKey,
}: Pick<Engine, 'baseUrl' | 'socketPath' | 'apiKey'>) {
  const client = new Pool(baseUrl, { ...(socketPath !== undefined && { socketPath }) });

  async function call(route: string, request: ApiRequest = {}): Promise<ApiReply> {
    const [method = '', path = ''] = route.split(' ');
    const { key = request.token === undefined ? apiKey : null, signal } = request;
    const json = request.json === undefined ? undefined : JSON.stringify(request.json);
    const body = request.chunks === undefined ? (request.text ?? json) : Readable.from(request.chunks);
    const reply = await client.request({
      method,
      path,
      headers: {
        'content-type': 'application/json',
        ...(key !== null && { 'x-api-key': key }),
        ...(request.token !== undefined && { authorization: `Bearer ${request.token}` }),
        ...request.headers,
      },
      ...(body !== undefined && { body }),
      ...(signal !== undefined && { signal }),
    });
    return {
      status: reply.statusCode,
      headers: reply.headers,
      body: jsonObject.parse(await reply.body.json()),
    };
  }

  return {
    call,
    /** A new sandbox: its id, its token, and the path of its own host. */
    async createSandbox(
      json: Record<string, unknown> = {},
    ): Promise<{ id: string; token: string; host: string }> {
      const { body } = await call('POST /v1/sandboxes', {
        json: { template_id: 'code-interpreter', ...json },
      });
      const made = z.object({ id: z.string(), auth_token: z.string(), public_host: z.string() }).parse(body);
      return { id: made.id, token: made.auth_token, host: new URL(made.public_host).pathname };
    },
    close: () => client.destroy(),
  };
}
