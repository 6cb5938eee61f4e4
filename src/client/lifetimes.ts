/** Unusual lifetimes: `timeout_seconds` is the one value of a create that the API gives back in its lists. */
export type Lifetimes = {
  /** At least `seconds`, a little longer, and like no other that is taken. */
  take(seconds: number): number;
  release(taken: number): void;
};

/** At most this much longer than asked; people use round numbers, so there is room between them. */
const MAX_EXTRA_SECONDS = 299;
/** Of a short lifetime the extra is a twentieth, but enough to tell a few creates apart. */
const EXTRA_SHARE = 0.05;
const MIN_EXTRA_SECONDS = 24;

/** Lifetimes in use, so that no two creates have the same. */
export function createLifetimes(random: () => number = Math.random): Lifetimes {
  const taken = new Set<number>();
  return {
    take(seconds) {
      const range = Math.min(
        MAX_EXTRA_SECONDS,
        Math.max(MIN_EXTRA_SECONDS, Math.floor(seconds * EXTRA_SHARE)),
      );
      const start = Math.floor(random() * range);
      const free = Array.from(
        { length: MAX_EXTRA_SECONDS },
        (_, index) => seconds + 1 + ((start + index) % MAX_EXTRA_SECONDS),
      ).find((candidate) => candidate % 5 !== 0 && !taken.has(candidate));
      const lifetime = free ?? seconds + 1;
      taken.add(lifetime);
      return lifetime;
    },
    release(lifetime) {
      taken.delete(lifetime);
    },
  };
}
