import { expect, test } from 'vitest';
import { trustedHost } from '../../src/client/trusted-host.ts';

const cloud = 'https://api.hopx.dev';
const rows: [named: string, controlPlane: string, trusted: string | undefined][] = [
  ['https://7777-abc.eu-1001.vms.hopx.dev', cloud, 'https://7777-abc.eu-1001.vms.hopx.dev/'],
  ['7777-abc.eu-1001.vms.hopx.dev', cloud, 'https://7777-abc.eu-1001.vms.hopx.dev/'],
  ['https://abc.hopx.dev', cloud, 'https://abc.hopx.dev/'],
  [
    'https://abc.sandboxes.example.co.uk',
    'https://api.sandboxes.example.co.uk',
    'https://abc.sandboxes.example.co.uk/',
  ],
  ['https://vms.hopx.dev.evil.example', cloud, undefined],
  ['https://evilhopx.dev', cloud, undefined],
  ['http://7777-abc.eu-1001.vms.hopx.dev', cloud, undefined],
  ['https://user:pass@7777-abc.vms.hopx.dev', cloud, undefined],
  ['https://127.0.0.1:7777', cloud, undefined],
  ['https://169.254.169.254', cloud, undefined],
  ['https://evil.co.uk', 'https://api.example.co.uk', undefined],
  ['https://evil.dev', 'https://hopx.dev', undefined],
  ['http://127.0.0.1:41000/vms/a', 'http://127.0.0.1:40000', 'http://127.0.0.1:41000/vms/a'],
  ['http://localhost/vms/a', 'http://localhost', 'http://localhost/vms/a'],
  ['https://vms.hopx.dev', 'http://127.0.0.1:40000', undefined],
  ['ftp://127.0.0.1', 'http://127.0.0.1:40000', undefined],
  ['not a host', cloud, undefined],
];

for (const [named, controlPlane, trusted] of rows) {
  test(`${named} named by ${controlPlane} is ${trusted === undefined ? 'not trusted' : 'trusted'}`, () => {
    const ask = () => trustedHost(named, new URL(controlPlane)).href;
    if (trusted === undefined) expect(ask).toThrow(expect.objectContaining({ code: 'UNTRUSTED_HOST' }));
    else expect(ask()).toBe(trusted);
  });
}
