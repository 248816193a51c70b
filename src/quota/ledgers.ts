import type { Clock } from '../clock.js'
import { openStore } from '../store/store.js'
import type { StoreParts } from '../store/store.js'
import type { Ledger } from './ledger.js'
import { createMemoryLedger } from './memory-ledger.js'
import { createRedisLedger } from './redis-ledger.js'
import { createSlicedLedger } from './sliced-ledger.js'

/** What a policy says of each kind of ledger. File paths are absolute. */
interface SettingsByKind {
  readonly memory: object
  readonly redis: {
    readonly url: string
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
  redis: <Context>(
    { url, tls, user, passwordFile, timeoutMs }: LedgerSettings<'redis'>,
    parts: LedgerParts,
  ): Ledger<Context> => {
    const store = openStore({ url, caFile: tls?.caFile, user, passwordFile }, parts)
    const { clock, random } = parts
    const ledger = createRedisLedger<Context>({ store, clock, timeoutMs })
    return createSlicedLedger({ ledger, store, clock, random, timeoutMs })
  },
}

export const ledgerKinds = Object.keys(ledgers) as readonly LedgerKind[]

export function createLedger<Context, Kind extends LedgerKind = LedgerKind>(
  settings: LedgerSettings<Kind>,
  parts: LedgerParts,
): Ledger<Context> {
  return ledgers[settings.kind]<Context>(settings, parts)
}
