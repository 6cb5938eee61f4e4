import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { expect, test } from 'vitest';
import { startEngine } from '../../src/engine/engine.ts';
import { silentLog } from '../../src/log.ts';
import { apiClient } from './api-client.ts';

/** In /proc/net/tcp. */
const LISTENING = '0A';

/** The ports on which this process listens. */
function listeningPorts(): number[] {
  const own = new Set(
    readdirSync('/proc/self/fd').flatMap((fd) => {
      try {
        return /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/self/fd/${fd}`))?.[1] ?? [];
      } catch {
        return [];
      }
    }),
  );
  return ['tcp', 'tcp6'].flatMap((table) =>
    readFileSync(`/proc/self/net/${table}`, 'utf8')
      .split('\n')
      .map((line) => line.trim().split(/\s+/))
      .filter((fields) => fields[3] === LISTENING && own.has(fields[9] ?? ''))
      .map((fields) => Number.parseInt(fields[1]?.split(':')[1] ?? '', 16)),
  );
}

test('the embedded engine opens no port, also not with a sandbox at work; serve opens one', async () => {
  const before = listeningPorts();
  const engine = await startEngine({ listen: { kind: 'socket' }, log: silentLog });
  const api = apiClient(engine);
  const { token, host } = await api.createSandbox();
  await api.call(`POST ${host}/execute`, { token, json: { code: '1' } });
  expect(listeningPorts()).toEqual(before);
  const served = await startEngine({ listen: { kind: 'loopback', port: 0 }, log: silentLog });
  expect(listeningPorts().sort()).toEqual([...before, Number(new URL(served.baseUrl).port)].sort());
  await served.close();
  await api.close();
  await engine.close();
});
