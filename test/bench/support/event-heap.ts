/** What is to happen and when; always gives the earliest first. */
export type EventHeap = {
  push(atMs: number, run: () => void): void;
  pop(): { atMs: number; run: () => void } | undefined;
};

export function createEventHeap(): EventHeap {
  const heap: { atMs: number; run: () => void }[] = [];
  const at = (index: number) => heap[index]?.atMs ?? Infinity;
  const swap = (a: number, b: number) => {
    const [left, right] = [heap[a], heap[b]];
    if (left === undefined || right === undefined) return;
    heap[a] = right;
    heap[b] = left;
  };
  return {
    push(atMs, run) {
      heap.push({ atMs, run });
      for (let child = heap.length - 1; child > 0; ) {
        const parent = (child - 1) >> 1;
        if (at(parent) <= at(child)) break;
        swap(parent, child);
        child = parent;
      }
    },
    pop() {
      swap(0, heap.length - 1);
      const first = heap.pop();
      for (let parent = 0; ; ) {
        const left = 2 * parent + 1;
        const least = at(left + 1) < at(left) ? left + 1 : left;
        if (at(parent) <= at(least)) break;
        swap(parent, least);
        parent = least;
      }
      return first;
    },
  };
}
