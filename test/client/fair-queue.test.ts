import { expect, test } from 'vitest';
import { FairQueue, type QueueEntry } from '../../src/client/fair-queue.ts';

type Item = { id: string; priority?: number; key?: string; front?: boolean };

/** Enqueues in order, and dequeues all: the ids in the order they would run. */
function order(items: readonly Item[], remove: readonly string[] = []): string[] {
  const queue = new FairQueue();
  const ran: string[] = [];
  const entries = new Map<string, QueueEntry>();
  for (const { id, priority = 0, key = '', front = false } of items) {
    const entry: QueueEntry = { key, front, run: undefined, band: undefined };
    entries.set(id, entry);
    queue.enqueue(async () => ran.push(id), { priority, entry });
  }
  // Leaving twice is leaving once.
  const elsewhere: QueueEntry = { key: '', front: false, run: undefined, band: undefined };
  for (const id of [...remove, ...remove]) queue.leave(entries.get(id) ?? elsewhere);
  const size = queue.size;
  for (let run = queue.dequeue(); run !== undefined; run = queue.dequeue()) void run();
  expect(ran).toHaveLength(size);
  expect(queue.size).toBe(0);
  return ran;
}

const flood = ['a1', 'a2', 'a3', 'a4'].map((id) => ({ id, key: 'a' }));

const rows: { says: string; items: Parameters<typeof order>[0]; remove?: string[]; runs: string[] }[] = [
  { says: 'first come, first served', items: flood, runs: ['a1', 'a2', 'a3', 'a4'] },
  {
    says: 'a flood of one sandbox does not hold up another',
    items: [...flood, { id: 'b1', key: 'b' }, { id: 'b2', key: 'b' }],
    runs: ['a1', 'b1', 'a2', 'b2', 'a3', 'a4'],
  },
  {
    says: 'higher priority first',
    items: [
      ...flood,
      { id: 'delete', priority: 20 },
      { id: 'poll', priority: -20 },
      { id: 'refresh', priority: 30 },
    ],
    runs: ['refresh', 'delete', 'a1', 'a2', 'a3', 'a4', 'poll'],
  },
  {
    says: 'a repeat goes before all of its priority, in the order of repeats',
    items: [
      ...flood,
      { id: 'again1', front: true },
      { id: 'again2', front: true },
      { id: 'delete', priority: 20 },
    ],
    runs: ['delete', 'again1', 'again2', 'a1', 'a2', 'a3', 'a4'],
  },
  {
    says: 'what is removed does not run',
    items: [...flood, { id: 'b1', key: 'b' }, { id: 'again', front: true }],
    remove: ['a1', 'a3', 'b1', 'again', 'never there'],
    runs: ['a2', 'a4'],
  },
];

for (const { says, items, remove, runs } of rows)
  test(says, () => expect(order(items, remove)).toEqual(runs));
