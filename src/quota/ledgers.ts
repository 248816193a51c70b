import type { Clock } from '../clock.js'
import { openStore } from '../store/store.js'
import type { StoreParts } from '../store/store.js'
import type { Ledger } from './ledger.js'
import { createMemoryLedger } from './memory-ledger.js'
import { createRedisLedger } from './redis-ledger.js'

/** What a policy says of each kind of ledger. File paths are absolute. */
export type LedgerSettings =
  | { readonly kind: 'memory' }
  | {
      readonly kind: 'redis'
      readonly url: string
      readonly tls: { readonly caFile: string } | undefined
      readonly user: string | undefined
      readonly passwordFile: string | undefined
      readonly timeoutMs: number
    }

export type LedgerKind = LedgerSettings['kind']

export interface LedgerParts extends StoreParts {
  readonly clock: Clock
}

type Maker<Kind extends LedgerKind> = <Context>(
  settings: Extract<LedgerSettings, { kind: Kind }>,
  parts: LedgerParts,
) => Ledger<Context>

/** Every kind of ledger that a policy can name. A new one is one file beside this one and one line here. */
const ledgers: { readonly [Kind in LedgerKind]: Maker<Kind> } = {
  memory: () => createMemoryLedger(),
  redis: ({ url, tls, user, passwordFile, timeoutMs }, parts) => {
    const store = openStore({ url, caFile: tls?.caFile, user, passwordFile }, parts)
    return createRedisLedger({ store, clock: parts.clock, timeoutMs })
  },
}

export const ledgerKinds = Object.keys(ledgers) as readonly LedgerKind[]

export function createLedger<Context>(
  settings: LedgerSettings,
  parts: LedgerParts,
): Ledger<Context> {
  switch (settings.kind) {
    case 'memory':
      return ledgers.memory(settings, parts)
    case 'redis':
      return ledgers.redis(settings, parts)
  }
}
