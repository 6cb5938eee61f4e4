import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { z } from 'zod';
import { builtServer } from './built-server.ts';
import { createFrameChecker } from './mcp-schema.ts';

const frameShape = z.looseObject({ method: z.string().optional() });

export type RecordedServer = {
  /** Takes no arguments. */
  command: string;
  /** Throws when anything that went through its pipes was not valid in the protocol, or nothing did. */
  check(): void;
  remove(): void;
};

/** The built server behind a script that writes down both directions, for clients whose transport is out of reach. */
export function recordServer(): RecordedServer {
  const directory = mkdtempSync(path.join(tmpdir(), 'recorded-'));
  const record = (from: string) => path.join(directory, from);
  const command = record('server.sh');
  const server = [builtServer.command, ...builtServer.args].join(' ');
  writeFileSync(command, `#!/bin/sh\ntee ${record('client')} | ${server} | tee ${record('server')}\n`, {
    mode: 0o755,
  });
  return {
    command,
    check() {
      const checker = createFrameChecker();
      for (const from of ['client', 'server'] as const) {
        const lines = readFileSync(record(from), 'utf8').split('\n').slice(0, -1);
        for (const line of lines) {
          const frame = frameShape.parse(JSON.parse(line));
          // The discovery of a later protocol, which the schema does not have.
          if (frame.method !== 'server/discover') checker.check(from, frame);
        }
      }
      if (checker.frames.length === 0) checker.problems.push('no frames');
      if (checker.problems.length > 0) throw new Error(checker.problems.join('\n'));
    },
    remove: () => rmSync(directory, { recursive: true }),
  };
}
