import { DependencyError } from '../../src/errors.js'
import { createFailoverLedger } from '../../src/quota/failover/failover-ledger.js'
import type { GuardedLedger } from '../../src/quota/failover/guarded-ledger.js'
import type { Ledger } from '../../src/quota/ledger.js'
import { createMemoryLedger } from '../../src/quota/memory/memory-ledger.js'
import type { MemoryLedger, MemoryLedgerOptions } from '../../src/quota/memory/memory-ledger.js'
import { SEEN_MS } from '../../src/quota/failover/processes.js'
import type { Census, LastLocal, Said } from '../../src/quota/failover/processes.js'

/** A store that several processes share, and that a test can take away: what Redis is to them, without a clock. */
export interface SmallStore {
  /** Its own moment. */
  atMs: number
  isUp: boolean
  /** What it has counted. */
  readonly ledger: () => MemoryLedger<string>
  /** It starts anew, with nothing. */
  lose(): void
  /** A process that uses it. */
  join(options?: { readonly atLeast?: number; readonly local?: MemoryLedgerOptions }): SmallProcess
}

export interface SmallProcess {
  readonly ledger: GuardedLedger<string>
  /** What it holds by its own share. */
  readonly local: MemoryLedger<string>
  /** It alone cannot reach the store. */
  isCutOff: boolean
  /** What it says reaches the store, and no answer reaches it. */
  isDeaf: boolean
  /** Others were counted without it, and it has no word from the store since. */
  isForgotten: boolean
}

export function createSmallStore(atMs: number): SmallStore {
  let ledger = createMemoryLedger<string>()
  /** When each process was last seen, since when it is there, and what it was last told. */
  let seen = new Map<number, { atMs: number; sinceMs: number; toldMs: number }>()
  let lastLocal: LastLocal | undefined
  const made = new Map<number, SmallProcess>()

  const store: SmallStore = {
    atMs,
    isUp: true,
    ledger: () => ledger,
    lose() {
      ledger = createMemoryLedger()
      seen = new Map()
      lastLocal = undefined
    },
    join({ atLeast = 1, local: localOptions = {} } = {}) {
      const id = made.size
      const local = createMemoryLedger<string>(localOptions)
      const reach = (): MemoryLedger<string> => {
        if (!store.isUp || process.isCutOff || process.isDeaf)
          throw new DependencyError('ledger', 'it is away')
        return ledger
      }
      const main: Ledger<string> = {
        exhausted: async (...args) => reach().exhausted(...args),
        reserve: async (...args) => reach().reserve(...args),
        find: async (...args) => reach().find(...args),
        end: async (...args) => reach().end(...args),
        abandon: async (...args) => reach().abandon(...args),
        expire: async (...args) => reach().expire(...args),
        balances: async (...args) => reach().balances(...args),
        size: () => ledger.size(),
        close: async () => undefined,
      }
      const processes = {
        async census({ toldMs = 0, local: used }: Said): Promise<Census> {
          if (!store.isUp || process.isCutOff) throw new DependencyError('ledger', 'it is away')
          const { atMs } = store
          for (const [other, one] of seen) if (one.atMs < atMs - SEEN_MS) seen.delete(other)
          const known = seen.get(id)
          const sinceMs = known?.sinceMs ?? atMs
          seen.set(id, { atMs, sinceMs, toldMs: known === undefined ? 0 : toldMs })
          if (used !== undefined) {
            lastLocal = {
              atMs: Math.max(lastLocal?.atMs ?? 0, atMs - used.agoMs),
              countedMs: Math.max(lastLocal?.countedMs ?? 0, used.countedMs),
            }
          }
          // A store that has lost its memory is believed after 10 s.
          if (atMs - sinceMs >= 10_000) {
            for (const [other, one] of made) if (!seen.has(other)) one.isForgotten = true
          }
          if (process.isDeaf) throw new DependencyError('ledger', 'the answer was lost')
          process.isForgotten = false
          const all = [...seen.values()]
          const told = all.map((one) => (one.toldMs < one.sinceMs ? -one.sinceMs : one.toldMs))
          const joined = known === undefined || toldMs < sinceMs
          const allToldMs = Math.min(...told)
          return { atMs, processes: seen.size, joined, allToldMs, lastLocal }
        },
      }
      const shared = { ledger: local, processes, atLeast, dueMonotonicMs: () => Infinity }
      const failover = createFailoverLedger({ main, local: shared })
      const process: SmallProcess = {
        ...{ ledger: failover, local, isCutOff: false, isDeaf: false, isForgotten: false },
      }
      made.set(id, process)
      return process
    },
  }
  return store
}
