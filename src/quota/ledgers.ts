import type { Clock } from '../clock.js'
import { openStore } from '../store/store.js'
import type { ClusterAddress, SentinelAddress, StoreAddress, StoreParts } from '../store/store.js'
import { CLUSTER_BUCKETS, createBuckets } from './buckets.js'
import type { Ledger } from './ledger.js'
import { createMemoryLedger } from './memory-ledger.js'
import { createRedisLedger } from './redis-ledger.js'

/** What a policy says of each kind of ledger. File paths are absolute. */
interface SettingsByKind {
  readonly memory: object
  readonly redis: {
    readonly url: string | undefined
    readonly sentinel: SentinelAddress | undefined
    readonly cluster: ClusterAddress | undefined
    readonly tls: { readonly caFile: string } | undefined
    readonly user: string | undefined
    readonly passwordFile: string | undefined
    readonly timeoutMs: number
  }
}

export type LedgerKind = keyof SettingsByKind

export type LedgerSettings<Kind extends LedgerKind = LedgerKind> = {
  readonly [Each in Kind]: { readonly kind: Each } & SettingsByKind[Each]
}[Kind]

export interface LedgerParts extends StoreParts {
  readonly clock: Clock
}

/** Every kind of ledger that a policy can name. A new one is one file beside this one and one line here. */
const ledgers: {
  readonly [Kind in LedgerKind]: <Context>(
    settings: LedgerSettings<Kind>,
    parts: LedgerParts,
  ) => Ledger<Context>
} = {
  memory: () => createMemoryLedger(),
  redis: (settings, parts) => {
    const { cluster, timeoutMs } = settings
    const store = openStore(addressFrom(settings), parts)
    const buckets = createBuckets(cluster === undefined ? 1 : CLUSTER_BUCKETS)
    return createRedisLedger({ store, clock: parts.clock, timeoutMs, buckets })
  },
}

function addressFrom(settings: SettingsByKind['redis']): StoreAddress {
  const { url = '', sentinel, cluster, tls, user, passwordFile } = settings
  const access = { caFile: tls?.caFile, user, passwordFile }
  if (sentinel !== undefined) return { ...access, sentinel }
  return cluster === undefined ? { ...access, url } : { ...access, cluster }
}

export const ledgerKinds = Object.keys(ledgers) as readonly LedgerKind[]

export function createLedger<Context, Kind extends LedgerKind = LedgerKind>(
  settings: LedgerSettings<Kind>,
  parts: LedgerParts,
): Ledger<Context> {
  return ledgers[settings.kind]<Context>(settings, parts)
}
