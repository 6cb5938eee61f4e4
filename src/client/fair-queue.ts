import type { QueueAddOptions } from 'p-queue';

type Run = () => Promise<unknown>;
export type FairOptions = QueueAddOptions & {
  /** Whose turn it is within one priority, round robin: a sandbox id. */
  key?: string;
  /** Goes before all of its priority: a repeat has waited already. */
  front?: boolean;
};

type Waiting = { id: string; run: Run };
type Band = { priority: number; front: Waiting[]; byKey: Map<string, Waiting[]> };

/** The order of a lane: priority first, then round robin among keys, then first come first served. */
export class FairQueue {
  /** Highest priority first; few, so a scan is cheaper than a heap. */
  #bands: Band[] = [];
  #bandOf = new Map<string, { band: Band; key: string | undefined }>();

  get size(): number {
    return this.#bandOf.size;
  }

  /** The priority of what would go next, or undefined when nothing waits. */
  get nextPriority(): number | undefined {
    return this.#bands[0]?.priority;
  }

  enqueue(run: Run, { priority = 0, id = '', key = '', front = false }: Partial<FairOptions> = {}): void {
    const band = this.#band(priority);
    this.#bandOf.set(id, { band, key: front ? undefined : key });
    if (front) {
      band.front.push({ id, run });
      return;
    }
    const line = band.byKey.get(key);
    if (line === undefined) band.byKey.set(key, [{ id, run }]);
    else line.push({ id, run });
  }

  dequeue(): Run | undefined {
    const band = this.#bands[0];
    if (band === undefined) return undefined;
    const next = band.front.shift() ?? this.#takeTurn(band);
    if (next === undefined) return undefined;
    this.#bandOf.delete(next.id);
    this.#dropIfEmpty(band);
    return next.run;
  }

  remove(id: string): void {
    const place = this.#bandOf.get(id);
    if (place === undefined) return;
    this.#bandOf.delete(id);
    const { band, key } = place;
    const line = key === undefined ? band.front : band.byKey.get(key);
    const index = line?.findIndex((waiting) => waiting.id === id) ?? -1;
    if (index >= 0) line?.splice(index, 1);
    if (key !== undefined && line?.length === 0) band.byKey.delete(key);
    this.#dropIfEmpty(band);
  }

  filter({ priority = 0 }: Readonly<Partial<FairOptions>>): Run[] {
    const band = this.#bands.find((candidate) => candidate.priority === priority);
    if (band === undefined) return [];
    return [...band.front, ...[...band.byKey.values()].flat()].map((waiting) => waiting.run);
  }

  setPriority(id: string, priority: number): void {
    const place = this.#bandOf.get(id);
    const line = place?.key === undefined ? place?.band.front : place.band.byKey.get(place.key);
    const waiting = line?.find((candidate) => candidate.id === id);
    if (waiting === undefined) throw new ReferenceError(`nothing waits under the id "${id}"`);
    const key = place?.key;
    this.remove(id);
    this.enqueue(waiting.run, key === undefined ? { id, priority, front: true } : { id, priority, key });
  }

  #takeTurn(band: Band): Waiting | undefined {
    // A Map keeps insertion order: taking the first key and putting it back last is round robin.
    for (const [key, line] of band.byKey) {
      band.byKey.delete(key);
      const next = line.shift();
      if (line.length > 0) band.byKey.set(key, line);
      return next;
    }
    return undefined;
  }

  #band(priority: number): Band {
    const found = this.#bands.find((band) => band.priority === priority);
    if (found !== undefined) return found;
    const band = { priority, front: [], byKey: new Map() };
    this.#bands.push(band);
    this.#bands.sort((a, b) => b.priority - a.priority);
    return band;
  }

  #dropIfEmpty(band: Band): void {
    if (band.front.length === 0 && band.byKey.size === 0) this.#bands.splice(this.#bands.indexOf(band), 1);
  }
}
