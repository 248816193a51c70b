/**
 * Remembers values for a while after they are done: at least `rememberMs`, fewer where they are too many, and less than
 * twice that plus the time between two calls of `rotate`; three times, where they were too many. Two generations, of which
 * the older is dropped whole: remembering and forgetting cost the same whatever the number.
 */
export interface Recent<T> {
  add(key: string, value: T): void
  get(key: string): T | undefined
  remove(key: string): void
  /** Forgets what is old enough; called now and then, always by the same clock. */
  rotate(nowMs: number): void
  readonly count: () => number
  clear(): void
}

/** What a memory may take. */
export interface RecentBounds<T> {
  /** Of all values, each as it weighs; half of that is kept at least. */
  readonly maxWeight: number
  readonly weightOf: (value: T) => number
}

interface Generation<T> {
  readonly values: Map<string, T>
  weight: number
}

/** @param bounds default: none, for what is bounded otherwise */
export function createRecent<T>(rememberMs: number, bounds?: RecentBounds<T>): Recent<T> {
  const { maxWeight = Infinity, weightOf = () => 1 } = bounds ?? {}
  let younger: Generation<T> = { values: new Map(), weight: 0 }
  let older: Generation<T> = { values: new Map(), weight: 0 }
  let rotatedAtMs = -Infinity
  /** Since it was last rotated, for want of room. */
  let hasAged = false

  function removeFrom({ values }: Generation<T>, key: string): number {
    const value = values.get(key)
    return value !== undefined && values.delete(key) ? weightOf(value) : 0
  }

  function remove(key: string): void {
    younger.weight -= removeFrom(younger, key)
    older.weight -= removeFrom(older, key)
  }

  function age(): void {
    older = younger
    younger = { values: new Map(), weight: 0 }
  }

  return {
    add(key, value) {
      remove(key)
      const weight = weightOf(value)
      // One that is too heavy by itself would push out all others.
      if (weight > maxWeight / 2) return
      if (younger.weight + weight > maxWeight / 2) {
        age()
        hasAged = true
      }
      younger.values.set(key, value)
      younger.weight += weight
    },
    get: (key) => younger.values.get(key) ?? older.values.get(key),
    remove,
    rotate(nowMs) {
      if (nowMs - rotatedAtMs < rememberMs) return
      // Else what has just come would go, though there is room for it.
      if (!hasAged) age()
      hasAged = false
      rotatedAtMs = nowMs
    },
    count: () => younger.values.size + older.values.size,
    clear() {
      age()
      age()
    },
  }
}
