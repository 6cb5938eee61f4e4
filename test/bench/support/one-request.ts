import PQueue from 'p-queue';
import { Agent } from 'undici';
import { agentOptions, headers, ours, post } from './contenders.ts';

export type Way = { name: string; send(code: string): Promise<unknown> };

/** The ways to send one execute and read its JSON: the baseline first, ours last but one. */
export function waysToSend(
  url: string,
  maxConcurrency: number,
): { ways: readonly Way[]; close(): Promise<void> } {
  const agent = new Agent(agentOptions);
  const queue = new PQueue({ concurrency: maxConcurrency });
  const client = ours('ours', { maxConcurrency }).open(url);
  const bare = async (code: string): Promise<unknown> => JSON.parse((await post(agent, url, code)).text);
  const plainFetch = async (code: string): Promise<unknown> => {
    const body = JSON.stringify({ code });
    return (await fetch(`${url}/vms/sbx1/execute`, { method: 'POST', headers, body })).json();
  };
  return {
    ways: [
      { name: 'undici request', send: bare },
      { name: 'p-queue + undici', send: (code) => queue.add(() => bare(code)) },
      { name: 'ours', send: (code) => client.execute(code) },
      { name: 'Node fetch', send: plainFetch },
    ],
    async close() {
      await client.close();
      await agent.destroy();
    },
  };
}
