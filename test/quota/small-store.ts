import { DependencyError } from '../../src/errors.js'
import { createFailoverLedger } from '../../src/quota/failover/failover-ledger.js'
import type { GuardedLedger } from '../../src/quota/failover/guarded-ledger.js'
import type { Ledger } from '../../src/quota/ledger.js'
import { createMemoryLedger } from '../../src/quota/memory/memory-ledger.js'
import type { MemoryLedger, MemoryLedgerOptions } from '../../src/quota/memory/memory-ledger.js'
import type { Census, Said } from '../../src/quota/failover/processes.js'
import { createClaimsStore } from './claims-model.js'

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
}

export function createSmallStore(atMs: number): SmallStore {
  let ledger = createMemoryLedger<string>()
  const claims = createClaimsStore()
  let made = 0

  const store: SmallStore = {
    atMs,
    isUp: true,
    ledger: () => ledger,
    lose() {
      ledger = createMemoryLedger()
      claims.lose()
    },
    join({ atLeast = 1, local: localOptions = {} } = {}) {
      const id = `process ${String((made += 1))}`
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
        async census(said: Said): Promise<Census> {
          if (!store.isUp || process.isCutOff) throw new DependencyError('ledger', 'it is away')
          const census = claims.census(id, said, store.atMs)
          if (process.isDeaf) throw new DependencyError('ledger', 'the answer was lost')
          return census
        },
      }
      const shared = { ledger: local, processes, atLeast, dueMonotonicMs: () => Infinity }
      const failover = createFailoverLedger({ main, local: shared })
      const process: SmallProcess = {
        ...{ ledger: failover, local, isCutOff: false, isDeaf: false },
      }
      return process
    },
  }
  return store
}
