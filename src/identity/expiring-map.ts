import type { Clock } from '../clock.js'

/** A map whose entries live for a fixed time, and of which the oldest makes room for a new one. */
export interface ExpiringMap<Value> {
  get(key: string): Value | undefined
  set(key: string, value: Value): void
  delete(key: string): void
  /** Frees what has lived its time; costs only what it frees. */
  sweep(): void
  readonly size: () => number
}

export function createExpiringMap<Value>(options: {
  readonly maxEntries: number
  readonly lifeMs: number
  readonly clock: Clock
}): ExpiringMap<Value> {
  const { maxEntries, lifeMs, clock } = options
  // One life for all: the order of insertion is the order of expiry.
  const entries = new Map<string, { readonly value: Value; readonly diesAtMs: number }>()
  return {
    get(key) {
      const entry = entries.get(key)
      if (entry === undefined) return undefined
      if (clock.monotonicMs() < entry.diesAtMs) return entry.value
      entries.delete(key)
      return undefined
    },
    set(key, value) {
      entries.delete(key)
      const oldest = entries.size >= maxEntries ? entries.keys().next() : undefined
      if (oldest?.done === false) entries.delete(oldest.value)
      entries.set(key, { value, diesAtMs: clock.monotonicMs() + lifeMs })
    },
    delete(key) {
      entries.delete(key)
    },
    sweep() {
      const nowMs = clock.monotonicMs()
      for (const [key, entry] of entries) {
        if (nowMs < entry.diesAtMs) return
        entries.delete(key)
      }
    },
    size: () => entries.size,
  }
}
