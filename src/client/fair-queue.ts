import type { QueueAddOptions } from 'p-queue';

type Run = () => Promise<unknown>;

export type FairOptions<P extends Place = Place> = QueueAddOptions & { place?: P };

/** Where something waits, and what takes it out again. One object a call, of which there may be thousands. */
export type Place = {
  /** Whose turn it is within one priority, round robin: a sandbox id. */
  readonly key: string;
  /** Goes before all of its priority: a repeat has waited already. */
  readonly front: boolean;
  /** Both are the queue's own, and undefined outside of it. */
  run: Run | undefined;
  band: number | undefined;
};

type Band<P> = { priority: number; front: P[]; byKey: Map<string, P[]> };

/** The order of a lane: priority first, then round robin among keys, then first come first served. */
export class FairQueue<P extends Place = Place> {
  /** Highest priority first; few, so a scan is cheaper than a heap. */
  #bands: Band<P>[] = [];
  size = 0;

  /** The priority of what would go next, or undefined when nothing waits. */
  get nextPriority(): number | undefined {
    return this.#bands[0]?.priority;
  }

  /** What waits, by priority, and within one key in its order. */
  get places(): P[] {
    return this.#bands.flatMap(waitingIn);
  }

  enqueue(run: Run, { priority = 0, place }: Partial<FairOptions<P>> = {}): void {
    if (place === undefined) throw new TypeError('what joins a lane says where');
    const band = this.#band(priority);
    place.run = run;
    place.band = priority;
    this.size += 1;
    const line = place.front ? band.front : band.byKey.get(place.key);
    if (line === undefined) band.byKey.set(place.key, [place]);
    else line.push(place);
  }

  dequeue(): Run | undefined {
    const band = this.#bands[0];
    if (band === undefined) return undefined;
    const next = band.front.shift() ?? takeTurn(band);
    if (next === undefined) return undefined;
    this.#left(next, band);
    return next.run;
  }

  /** Takes out what waits at a place; nothing when it has left already. */
  leave(place: P): void {
    const { key, front } = place;
    const band = this.#bands.find(({ priority }) => priority === place.band);
    if (band === undefined) return;
    const line = front ? band.front : band.byKey.get(key);
    line?.splice(line.indexOf(place), 1);
    if (!front && line?.length === 0) band.byKey.delete(key);
    this.#left(place, band);
  }

  filter({ priority = 0 }: Readonly<Partial<FairOptions<P>>>): Run[] {
    const band = this.#bands.find((candidate) => candidate.priority === priority);
    return (band === undefined ? [] : waitingIn(band)).flatMap(({ run }) => run ?? []);
  }

  /** p-queue offers it; nothing here changes its mind about a priority. */
  setPriority(): void {
    throw new TypeError('a lane does not change priorities');
  }

  #band(priority: number): Band<P> {
    const found = this.#bands.find((band) => band.priority === priority);
    if (found !== undefined) return found;
    const band: Band<P> = { priority, front: [], byKey: new Map() };
    this.#bands.push(band);
    this.#bands.sort((a, b) => b.priority - a.priority);
    return band;
  }

  #left(place: P, band: Band<P>): void {
    place.band = undefined;
    this.size -= 1;
    if (band.front.length === 0 && band.byKey.size === 0) this.#bands.splice(this.#bands.indexOf(band), 1);
  }
}

function waitingIn<P>({ front, byKey }: Band<P>): P[] {
  return [...front, ...[...byKey.values()].flat()];
}

/** A Map keeps insertion order: taking the first key and putting it back last is round robin. */
function takeTurn<P>(band: Band<P>): P | undefined {
  for (const [key, line] of band.byKey) {
    band.byKey.delete(key);
    const next = line.shift();
    if (line.length > 0) band.byKey.set(key, line);
    return next;
  }
  return undefined;
}
