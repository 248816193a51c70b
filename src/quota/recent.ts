/**
 * Remembers values for a while after they are done: at least `rememberMs`, less than twice that plus the time
 * between two calls of `rotate`. Two generations, of which the older is dropped whole: remembering and
 * forgetting cost the same whatever the number.
 */
export interface Recent<T> {
  add(key: string, value: T): void
  get(key: string): T | undefined
  remove(key: string): void
  /** Forgets what is old enough; called now and then. */
  rotate(nowEpochMs: number): void
  readonly count: () => number
  clear(): void
}

export function createRecent<T>(rememberMs: number): Recent<T> {
  let younger = new Map<string, T>()
  let older = new Map<string, T>()
  let rotatedAtEpochMs = 0
  return {
    add(key, value) {
      older.delete(key)
      younger.set(key, value)
    },
    get: (key) => younger.get(key) ?? older.get(key),
    remove(key) {
      younger.delete(key)
      older.delete(key)
    },
    rotate(nowEpochMs) {
      if (nowEpochMs - rotatedAtEpochMs < rememberMs) return
      older = younger
      younger = new Map()
      rotatedAtEpochMs = nowEpochMs
    },
    count: () => younger.size + older.size,
    clear() {
      younger.clear()
      older.clear()
    },
  }
}
