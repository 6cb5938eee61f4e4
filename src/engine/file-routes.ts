import { Readable } from 'node:stream';
import { type Context, Hono } from 'hono';
import { writeFileRequest } from '../contract/hopx.ts';
import { listQuery, pathQuery } from './agent-requests.ts';
import type { AgentRoutesDeps } from './agent-routes.ts';
import { requireToken } from './authentication.ts';
import { type ApiEnv, reply } from './http-reply.ts';
import { check, readBody } from './request-body.ts';
import { rfc3339 } from './sandbox-record.ts';
import { receiveUpload } from './upload.ts';

/** The files of a sandbox: `/files`. */
export function fileRoutes({ agent, tokens, clock }: AgentRoutesDeps): Hono<ApiEnv> {
  const routes = new Hono<ApiEnv>();
  const withToken = requireToken(tokens);
  const sandbox = (c: Context<ApiEnv>) => agent.sandbox(c.get('sandboxId'));

  const done = (c: Context<ApiEnv>, message: string, file: { path: string; size?: number }) =>
    reply(c, { ...file, success: true, message, timestamp: rfc3339(clock.now()) });

  routes.post('/files/write', withToken, async (c) => {
    const request = await readBody(c.req.raw, writeFileRequest);
    const size = await agent.writeFile(c.get('sandboxId'), request);
    return done(c, 'File written', { path: request.path, size });
  });

  routes.post('/files/upload', withToken, async (c) => {
    const { incoming } = c.env;
    const file = await receiveUpload(incoming, c.req.query('path'), await sandbox(c), c.req.raw.signal);
    return done(c, 'File uploaded', file);
  });

  routes.get('/files/read', withToken, async (c) => {
    const { path } = check(pathQuery, c.req.query());
    const content = await (await sandbox(c)).readFile(path);
    return reply(c, { content: new TextDecoder().decode(content), path, size: content.byteLength });
  });

  routes.get('/files/download', withToken, async (c) => {
    const { path } = check(pathQuery, c.req.query());
    const { size, chunks } = await (await sandbox(c)).openFile(path);
    const body = Readable.toWeb(Readable.from(chunks, { objectMode: false, highWaterMark: 0 }));
    return c.body(body, 200, {
      'Content-Type': 'application/octet-stream',
      'Content-Length': String(size),
    });
  });

  routes.get('/files/list', withToken, async (c) => {
    const { path } = check(listQuery, c.req.query());
    const entries = await (await sandbox(c)).listFiles(path);
    const files = entries.map(({ name, size, isDirectory, modifiedMs, mode }) => ({
      name,
      path: `${path.replace(/\/+$/, '')}/${name}`,
      size,
      // Both names that HopX's documents and SDKs have for each.
      is_directory: isDirectory,
      is_dir: isDirectory,
      modified_time: rfc3339(modifiedMs),
      modified: rfc3339(modifiedMs),
      permissions: (mode & 0o777).toString(8).padStart(4, '0'),
    }));
    return reply(c, { files, path, count: files.length });
  });

  routes.get('/files/exists', withToken, async (c) => {
    const { path } = check(pathQuery, c.req.query());
    return reply(c, { exists: await (await sandbox(c)).fileExists(path), path });
  });

  routes.delete('/files/remove', withToken, async (c) => {
    const { path } = check(pathQuery, c.req.query());
    await (await sandbox(c)).removeFile(path);
    return done(c, 'File removed', { path });
  });

  routes.post('/files/mkdir', withToken, async (c) => {
    const { path } = await readBody(c.req.raw, pathQuery);
    await (await sandbox(c)).makeDirectory(path);
    return done(c, 'Directory created', { path });
  });

  return routes;
}
