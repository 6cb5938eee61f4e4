import { z } from 'zod';
import { limitedHopxOptions, startLimitedHopx } from './support/limited-hopx.ts';

const question = z.object({
  id: z.number(),
  open: limitedHopxOptions.optional(),
  count: z.string().optional(),
});

const servers = new Map<string, Awaited<ReturnType<typeof startLimitedHopx>>>();

process.on('message', async (message) => {
  const { id, open, count } = question.parse(message);
  if (open !== undefined) {
    const server = await startLimitedHopx(open);
    servers.set(server.url, server);
    process.send?.({ id, answer: { url: server.url } });
  }
  if (count !== undefined) process.send?.({ id, answer: servers.get(count)?.counts() });
});
process.on('disconnect', () => process.exit(0));
