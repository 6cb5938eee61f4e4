import type { QueueAddOptions } from 'p-queue';

type Run = () => Promise<unknown>;

export type FairOptions<E extends QueueEntry = QueueEntry> = QueueAddOptions & { entry?: E };

/** What waits, and where; `leave` takes it out by this object. One a call, of which there may be thousands. */
export type QueueEntry = {
  /** Whose turn it is within one priority, round robin: a sandbox id. */
  readonly key: string;
  /** Goes before all of its priority: a repeat has waited already. */
  readonly front: boolean;
  /** Both are the queue's own, and undefined outside of it. */
  run: Run | undefined;
  band: number | undefined;
};

type Band<E> = { priority: number; front: E[]; byKey: Map<string, E[]> };

/** The order of a lane: priority first, then round robin among keys, then first come first served. */
export class FairQueue<E extends QueueEntry = QueueEntry> {
  /** Highest priority first; few, so a scan is cheaper than a heap. */
  #bands: Band<E>[] = [];
  size = 0;

  /** The priority of what would go next, or undefined when nothing waits. */
  get nextPriority(): number | undefined {
    return this.#bands[0]?.priority;
  }

  /** What waits, by priority, and within one key in its order. */
  get waiting(): E[] {
    return this.#bands.flatMap(waitingIn);
  }

  enqueue(run: Run, { priority = 0, entry }: Partial<FairOptions<E>> = {}): void {
    if (entry === undefined) throw new TypeError('what joins a lane says where');
    const band = this.#band(priority);
    entry.run = run;
    entry.band = priority;
    this.size += 1;
    const line = entry.front ? band.front : band.byKey.get(entry.key);
    if (line === undefined) band.byKey.set(entry.key, [entry]);
    else line.push(entry);
  }

  dequeue(): Run | undefined {
    const band = this.#bands[0];
    if (band === undefined) return undefined;
    const next = band.front.shift() ?? takeTurn(band);
    if (next === undefined) return undefined;
    this.#left(next, band);
    return next.run;
  }

  /** Takes an entry out; nothing when it has left already. */
  leave(entry: E): void {
    const { key, front } = entry;
    const band = this.#bands.find(({ priority }) => priority === entry.band);
    if (band === undefined) return;
    const line = front ? band.front : band.byKey.get(key);
    line?.splice(line.indexOf(entry), 1);
    if (!front && line?.length === 0) band.byKey.delete(key);
    this.#left(entry, band);
  }

  filter({ priority = 0 }: Readonly<Partial<FairOptions<E>>>): Run[] {
    const band = this.#bands.find((candidate) => candidate.priority === priority);
    return (band === undefined ? [] : waitingIn(band)).flatMap(({ run }) => run ?? []);
  }

  /** p-queue offers it; nothing here changes its mind about a priority. */
  setPriority(): void {
    throw new TypeError('a lane does not change priorities');
  }

  #band(priority: number): Band<E> {
    const found = this.#bands.find((band) => band.priority === priority);
    if (found !== undefined) return found;
    const band: Band<E> = { priority, front: [], byKey: new Map() };
    this.#bands.push(band);
    this.#bands.sort((a, b) => b.priority - a.priority);
    return band;
  }

  #left(entry: E, band: Band<E>): void {
    entry.band = undefined;
    this.size -= 1;
    if (band.front.length === 0 && band.byKey.size === 0) this.#bands.splice(this.#bands.indexOf(band), 1);
  }
}

function waitingIn<E>({ front, byKey }: Band<E>): E[] {
  return [...front, ...[...byKey.values()].flat()];
}

/** A Map keeps insertion order: taking the first key and putting it back last is round robin. */
function takeTurn<E>(band: Band<E>): E | undefined {
  for (const [key, line] of band.byKey) {
    band.byKey.delete(key);
    const next = line.shift();
    if (line.length > 0) band.byKey.set(key, line);
    return next;
  }
  return undefined;
}
