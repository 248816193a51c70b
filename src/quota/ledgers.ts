import type { Clock } from '../clock.js'
import { openStore } from '../store/store.js'
import type { StoreAddress, StoreParts } from '../store/store.js'
import { CLUSTER_BUCKETS, createBuckets } from './redis/buckets.js'
import { createFailoverLedger } from './failover/failover-ledger.js'
import { createFullLedger } from './failover/full-ledger.js'
import type { GuardedLedger } from './failover/guarded-ledger.js'
import { boundsIn } from './memory/bounds.js'
import { createMemoryLedger } from './memory/memory-ledger.js'
import { createRedisLedger } from './redis/redis-ledger.js'
import { createRedisProcesses, loadProcessesScript } from './redis/redis-processes.js'
import { loadRedisScripts } from './redis/scripts.js'
import { rememberedIn } from './remembered.js'
import { createSlicedLedger } from './slices/sliced-ledger.js'

/** What a policy says of each kind of ledger. File paths are absolute. */
interface SettingsByKind {
  readonly memory: {
    /** Of this process: with a store, what its own shares are kept in while the store is away. */
    readonly maxPartitions: number | undefined
  }
  readonly redis: {
    readonly address: StoreAddress
    readonly timeoutMs: number
    readonly maxPartitions: number | undefined
    /** Processes that share the limits, at least. */
    readonly processes: number
  }
}

export type LedgerKind = keyof SettingsByKind

export type LedgerSettings<Kind extends LedgerKind = LedgerKind> = {
  readonly [Each in Kind]: { readonly kind: Each } & SettingsByKind[Each]
}[Kind]

export interface LedgerParts extends Omit<StoreParts, 'scripts'> {
  readonly clock: Clock
  /** Random: what this process is known by in the store. */
  readonly processId: string
  /** What the heap of this process may hold. */
  readonly heapBytes: number
}

/** Every kind of ledger that a policy can name. A new one is one file beside this one and one line here. */
const ledgers: {
  readonly [Kind in LedgerKind]: <Context>(
    settings: LedgerSettings<Kind>,
    parts: LedgerParts,
  ) => GuardedLedger<Context>
} = {
  memory: ({ maxPartitions }, parts) =>
    createFullLedger(createMemoryLedger(memoryOptions(maxPartitions, parts))),
  redis: <Context>(
    { address, timeoutMs, maxPartitions, processes }: LedgerSettings<'redis'>,
    parts: LedgerParts,
  ) => {
    const { clock, random, processId, heapBytes } = parts
    const remembered = rememberedIn(heapBytes)
    const options = memoryOptions(maxPartitions, parts)
    const scripts = [...Object.values({ ...loadRedisScripts() }), loadProcessesScript()]
    const store = openStore(address, { ...parts, scripts })
    const buckets = createBuckets('cluster' in address ? CLUSTER_BUCKETS : 1)
    const shared = { store, clock, timeoutMs, buckets, remembered }
    const ledger = createRedisLedger<Context>({ ...shared, processId })
    return createFailoverLedger<Context>({
      main: createSlicedLedger({ ...shared, ledger, random }),
      remembered,
      local: {
        // The other half is for what is remembered of the store.
        ledger: createMemoryLedger({
          ...options,
          maxReservations: Math.floor(options.maxReservations / 2),
        }),
        processes: createRedisProcesses({ store, clock, timeoutMs, processId }),
        atLeast: processes,
        dueMonotonicMs: () => clock.monotonicMs() + timeoutMs,
      },
    })
  },
}

/** @param maxPartitions as the policy says; else what the heap has room for */
function memoryOptions(maxPartitions: number | undefined, { clock, heapBytes }: LedgerParts) {
  const bounds = boundsIn(heapBytes)
  return {
    ...bounds,
    maxPartitions: maxPartitions ?? bounds.maxPartitions,
    monotonicMs: () => clock.monotonicMs(),
  }
}

export const ledgerKinds = Object.keys(ledgers) as readonly LedgerKind[]

export function createLedger<Context, Kind extends LedgerKind = LedgerKind>(
  settings: LedgerSettings<Kind>,
  parts: LedgerParts,
): GuardedLedger<Context> {
  return ledgers[settings.kind]<Context>(settings, parts)
}
