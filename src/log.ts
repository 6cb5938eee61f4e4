/** From the most said to nothing. */
export const logLevels = ['debug', 'info', 'warn', 'error', 'silent'] as const;
export type LogLevel = (typeof logLevels)[number];

type Write = (message: string, fields?: Readonly<Record<string, unknown>>) => void;
export type Log = { debug: Write; info: Write; warn: Write; error: Write };

/** A log that drops everything. */
export const silentLog: Log = { debug() {}, info() {}, warn() {}, error() {} };

type LogOptions = {
  level: LogLevel;
  /** Takes the secrets out of every text of an event. */
  redact?: (text: string) => string;
  write?: (line: string) => void;
  now?: () => Date;
};

/** Writes one JSON line an event to stderr, from `level` upwards. */
export function createLog({
  level,
  redact = (text) => text,
  write = (line) => process.stderr.write(line),
  now = () => new Date(),
}: LogOptions): Log {
  const lowest = logLevels.indexOf(level);
  const writer =
    (name: LogLevel): Write =>
    (message, fields = {}) => {
      if (logLevels.indexOf(name) < lowest) return;
      const event = { time: now().toISOString(), level: name, message, ...fields };
      // Before JSON escapes it: a secret with a quote in it would not be recognised after.
      const line = JSON.stringify(event, (_key, value) =>
        typeof value === 'string' ? redact(value) : value,
      );
      write(`${line}\n`);
    };
  return { debug: writer('debug'), info: writer('info'), warn: writer('warn'), error: writer('error') };
}
