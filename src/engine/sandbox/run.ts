import type { Language } from '../../contract/results.ts';

export type OutputStream = 'stdout' | 'stderr';

/** One piece of code to run. */
export type RunRequest = {
  /** New in this sandbox: 1 to 64 of A-Z a-z 0-9 _ - */
  runId: string;
  language: Language;
  code: string;
  timeoutMs: number;
  env: Readonly<Record<string, string>>;
  /** Relative to /workspace; must exist. */
  workdir?: string;
};

/** What a run printed and left behind. */
export type RunOutput = {
  stdout: string;
  stderr: string;
  /** Text of the last expression of a Python run. */
  result?: string;
  /** Base64, of the last open figure or the last expression. */
  png?: string;
  svg?: string;
  html?: string;
  markdown?: string;
  json?: unknown;
  /** Streams whose middle was left out at the source. */
  truncated: { stream: OutputStream; totalChars: number; fullOutputPath?: string }[];
};

export type RunResult = RunOutput & {
  /** 124 for a timeout, 130 for a cancel, 137 for memory, 128 + n for signal n. */
  exitCode: number;
  executionTimeMs: number;
  /** What ended a run that did not end itself. */
  endedBy?: 'timeout' | 'memory' | 'cancel';
  /** The Python kernel is a new one: variables of earlier runs are gone. */
  variablesLost: boolean;
  /** Files under /workspace that were made or changed meanwhile, newest first, at most 50. */
  artifacts?: { path: string; size: number }[];
  artifactsTotal?: number;
};

export type RunOptions = {
  signal?: AbortSignal;
  /** Hears output as it comes; in the end it heard exactly `stdout` and `stderr`. */
  onOutput?(stream: OutputStream, text: string): void;
};
