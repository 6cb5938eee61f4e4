/** Takes secrets out of text that leaves the server: known values, and whatever is shaped like one. */
export type Redactor = { redact(text: string): string; add(secret: string): void };

/** Shorter values are words that occur by themselves. */
const MIN_SECRET_LENGTH = 6;
/** Tokens come and go; the oldest have expired. What the redactor was made with stays. */
const MAX_ADDED = 1_000;
const SHAPES = [
  /hopx_(?:live|test)_[A-Za-z0-9]{4,}\.?[A-Za-z0-9_-]*/g,
  /eyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*/g,
];

/** A redactor that knows `secrets` for good, and what is added until newer ones crowd it out. */
export function createRedactor(secrets: readonly string[] = []): Redactor {
  const isLong = (secret: string) => secret.length >= MIN_SECRET_LENGTH;
  const lasting = secrets.filter(isLong);
  const added = new Set<string>();
  /** The longest first: a secret that begins with another one would keep its end. */
  let known: readonly string[] | undefined;
  return {
    add(secret) {
      if (isLong(secret)) added.add(secret);
      const [oldest] = added;
      if (added.size > MAX_ADDED && oldest !== undefined) added.delete(oldest);
      known = undefined;
    },
    redact(text) {
      known ??= [...lasting, ...added].sort((a, b) => b.length - a.length);
      let clean = text;
      // Most texts of a result are shorter than a token.
      for (const secret of known)
        if (secret.length <= clean.length) clean = clean.replaceAll(secret, '[redacted]');
      for (const shape of SHAPES) clean = clean.replace(shape, '[redacted]');
      return clean;
    },
  };
}
