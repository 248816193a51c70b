/** An item knows where it stands in its queue, so that it can be moved or taken out without a search. */
export interface Queued {
  /** Index in the queue's heap, -1 while the item is in none; written by the queue alone. */
  queuePosition: number
}

/** Items by the moment they are due, by whatever clock, earliest first. Every change costs O(log n). */
export interface DeadlineQueue<T extends Queued> {
  /** Adds the item, or moves it when it is there already. */
  put(item: T, dueMs: number): void
  /** Takes the item out, if it is there. */
  remove(item: T): void
  /** Takes out the earliest item that is due at `nowMs`. */
  takeDue(nowMs: number): T | undefined
}

/** A binary heap in two parallel arrays: the deadlines stay unboxed, 16 bytes per item in all. */
export function createDeadlineQueue<T extends Queued>(): DeadlineQueue<T> {
  const dues: number[] = []
  const items: T[] = []

  function place(position: number, item: T, dueMs: number): void {
    dues[position] = dueMs
    items[position] = item
    item.queuePosition = position
  }

  function rise(from: number, item: T, dueMs: number): void {
    let position = from
    while (position > 0) {
      const parent = (position - 1) >> 1
      const parentDue = dues[parent] as number
      if (parentDue <= dueMs) break
      place(position, items[parent] as T, parentDue)
      position = parent
    }
    place(position, item, dueMs)
  }

  function sink(from: number, item: T, dueMs: number): void {
    let position = from
    for (;;) {
      let child = 2 * position + 1
      if (child >= items.length) break
      const right = child + 1
      if (right < items.length && (dues[right] as number) < (dues[child] as number)) child = right
      const childDue = dues[child] as number
      if (childDue >= dueMs) break
      place(position, items[child] as T, childDue)
      position = child
    }
    place(position, item, dueMs)
  }

  function removeAt(position: number): void {
    const last = items.length - 1
    const moved = items[last] as T
    const movedDue = dues[last] as number
    items[position]!.queuePosition = -1
    items.length = last
    dues.length = last
    if (position === last) return
    const before = dues[position] as number
    if (movedDue < before) rise(position, moved, movedDue)
    else sink(position, moved, movedDue)
  }

  return {
    put(item, dueMs) {
      const position = item.queuePosition
      if (position === -1) rise(items.length, item, dueMs)
      else if (dueMs < (dues[position] as number)) rise(position, item, dueMs)
      else sink(position, item, dueMs)
    },
    remove(item) {
      if (item.queuePosition !== -1) removeAt(item.queuePosition)
    },
    takeDue(nowMs) {
      const first = items[0]
      if (first === undefined || (dues[0] as number) > nowMs) return undefined
      removeAt(0)
      return first
    },
  }
}

/** Of one call: a few milliseconds in one piece, whatever is due. */
const MAX_WORK = 2000

/**
 * Takes out those that are due, earliest first, up to what may be done in one piece; the rest is left to the next call.
 *
 * @param workOf what it takes to let go of one, in steps of some 2 µs
 */
export function* takeSomeDue<T extends Queued>(
  queue: DeadlineQueue<T>,
  nowMs: number,
  workOf: (item: T) => number,
): Generator<T, void> {
  for (let work = 0; work < MAX_WORK;) {
    const item = queue.takeDue(nowMs)
    if (item === undefined) return
    work += workOf(item)
    yield item
  }
}
