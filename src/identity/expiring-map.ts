import type { Clock } from '../clock.js'

/**
 * A map whose entries live for a fixed time, and of which the oldest makes room for a new one. The dead are freed
 * when something is put in, each once.
 */
export interface ExpiringMap<Value> {
  get(key: string): Value | undefined
  set(key: string, value: Value): void
  /** Entries that are held, the dead among them. */
  size(): number
}

export function createExpiringMap<Value>(options: {
  readonly maxEntries: number
  readonly lifeMs: number
  readonly clock: Clock
}): ExpiringMap<Value> {
  const { maxEntries, lifeMs, clock } = options
  // One life for all: the order of insertion is the order of death.
  const entries = new Map<string, { readonly value: Value; readonly diesAtMs: number }>()
  return {
    get(key) {
      const entry = entries.get(key)
      return entry !== undefined && clock.monotonicMs() < entry.diesAtMs ? entry.value : undefined
    },
    set(key, value) {
      const nowMs = clock.monotonicMs()
      // Out and in again, or a renewed entry would keep its old place in the order.
      entries.delete(key)
      for (const [oldest, { diesAtMs }] of entries) {
        if (nowMs < diesAtMs && entries.size < maxEntries) break
        entries.delete(oldest)
      }
      entries.set(key, { value, diesAtMs: nowMs + lifeMs })
    },
    size: () => entries.size,
  }
}
