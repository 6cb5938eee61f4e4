import type { QueueAddOptions } from 'p-queue';

type Run = () => Promise<unknown>;

export type FairOptions = QueueAddOptions & { place?: Place };

/** Where something waits, and what takes it out again. One object a call, of which there may be thousands. */
export type Place = {
  /** Whose turn it is within one priority, round robin: a sandbox id. */
  readonly key: string;
  /** Goes before all of its priority: a repeat has waited already. */
  readonly front: boolean;
  run?: Run;
  band?: Band;
};

type Band = { priority: number; front: Place[]; byKey: Map<string, Place[]> };

/** The order of a lane: priority first, then round robin among keys, then first come first served. */
export class FairQueue {
  /** Highest priority first; few, so a scan is cheaper than a heap. */
  #bands: Band[] = [];
  size = 0;

  /** The priority of what would go next, or undefined when nothing waits. */
  get nextPriority(): number | undefined {
    return this.#bands[0]?.priority;
  }

  enqueue(run: Run, { priority = 0, place = { key: '', front: false } }: Partial<FairOptions> = {}): void {
    const band = this.#band(priority);
    place.run = run;
    place.band = band;
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
  leave(place: Place): void {
    const { band, key, front } = place;
    if (band === undefined) return;
    const line = front ? band.front : band.byKey.get(key);
    line?.splice(line.indexOf(place), 1);
    if (!front && line?.length === 0) band.byKey.delete(key);
    this.#left(place, band);
  }

  filter({ priority = 0 }: Readonly<Partial<FairOptions>>): Run[] {
    const band = this.#bands.find((candidate) => candidate.priority === priority);
    const places = band === undefined ? [] : [...band.front, ...[...band.byKey.values()].flat()];
    return places.flatMap(({ run }) => run ?? []);
  }

  /** p-queue offers it; nothing here changes its mind about a priority. */
  setPriority(): void {
    throw new TypeError('a lane does not change priorities');
  }

  #band(priority: number): Band {
    const found = this.#bands.find((band) => band.priority === priority);
    if (found !== undefined) return found;
    const band = { priority, front: [], byKey: new Map() };
    this.#bands.push(band);
    this.#bands.sort((a, b) => b.priority - a.priority);
    return band;
  }

  #left(place: Place, band: Band): void {
    delete place.band;
    this.size -= 1;
    if (band.front.length === 0 && band.byKey.size === 0) this.#bands.splice(this.#bands.indexOf(band), 1);
  }
}

/** A Map keeps insertion order: taking the first key and putting it back last is round robin. */
function takeTurn(band: Band): Place | undefined {
  for (const [key, line] of band.byKey) {
    band.byKey.delete(key);
    const next = line.shift();
    if (line.length > 0) band.byKey.set(key, line);
    return next;
  }
  return undefined;
}
