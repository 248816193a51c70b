import type { Clock } from '../../clock.js'
import type { Script } from '../../store/store.js'
import type { Ask } from '../redis/ask.js'
import type { Buckets } from '../redis/buckets.js'
import { storedComing } from '../redis/stored-keys.js'
import type { Pending } from './slice-turn.js'

/**
 * Tells the home of what was decided here, and cannot be told there for now, that it comes: a node that has another part
 * is away, or has one that this release cannot read. A report that reaches another process looks for it at home, and is
 * kept there as long as the mark stands. The mark has a short life, so it goes with this process; what is told is found
 * before it.
 */
export interface Coming {
  /** Marks what is late, and what was marked a while ago. What fails is told the next time. Never fails. */
  tell(): void
  /** The same, but where it has just looked for what is late: then the next look, of upkeep, finds it in time. */
  tellSoon(): void
}

export interface ComingOptions<Context> {
  readonly script: Script
  readonly ask: Ask
  readonly buckets: Buckets
  readonly clock: Pick<Clock, 'monotonicMs'>
  /** The moment at the node that has the bucket as the process knows it. */
  readonly nowAt: (bucket: number) => number
  readonly late: () => readonly Pending<Context>[]
}

/** Longer than upkeep, which tells it again, takes at its slowest. */
const LIFE_MS = 10_000
const RENEWED_AFTER_MS = 3000
/** It looks through all that is untold, some ms, and where a node is away the turns of all its buckets fail at once. */
const LOOKS_AFTER_MS = 500
/** Some 0.2 ms of Redis's time. */
const MAX_PER_CALL = 100

export function createComing<Context>(options: ComingOptions<Context>): Coming {
  const { script, ask, buckets, clock, nowAt, late } = options
  const toldMs = new WeakMap<Pending<Context>, number>()
  const underWay = new Set<number>()
  let lookedMs = -Infinity

  function due(): ReadonlyMap<number, readonly Pending<Context>[]> {
    const nowMs = clock.monotonicMs()
    const byHome = new Map<number, Pending<Context>[]>()
    for (const pending of late()) {
      if (nowMs - (toldMs.get(pending) ?? -Infinity) < RENEWED_AFTER_MS) continue
      const [{ bucket, admittedMs }] = pending.parts
      // After that no report settles it, however late it is told.
      if (nowAt(bucket) >= admittedMs + 2 * pending.request.leaseMs) continue
      const others = byHome.get(bucket)
      if (others === undefined) byHome.set(bucket, [pending])
      else others.push(pending)
    }
    return byHome
  }

  async function mark(home: number, pendings: readonly Pending<Context>[]): Promise<void> {
    const tag = buckets.tagOf(home)
    underWay.add(home)
    try {
      for (let from = 0; from < pendings.length; from += MAX_PER_CALL) {
        const some = pendings.slice(from, from + MAX_PER_CALL)
        const keys = some.map(({ request }) => storedComing(request.id, tag))
        const sentMs = clock.monotonicMs()
        await ask(script, keys, { forMs: LIFE_MS }, nowAt(home), () => ({}))
        for (const pending of some) toldMs.set(pending, sentMs)
      }
    } catch {
      // Where the home is away too, reports wait for it as it is.
    } finally {
      underWay.delete(home)
    }
  }

  function tell(): void {
    for (const [home, pendings] of due()) if (!underWay.has(home)) void mark(home, pendings)
  }

  return {
    tell,
    tellSoon() {
      const nowMs = clock.monotonicMs()
      if (nowMs - lookedMs < LOOKS_AFTER_MS) return
      lookedMs = nowMs
      tell()
    },
  }
}
