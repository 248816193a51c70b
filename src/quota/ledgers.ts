import type { Ledger } from './ledger.js'
import { createMemoryLedger } from './memory-ledger.js'

/** Every kind of ledger that a policy can name. A new one is one file beside this one and one line here. */
const ledgers = {
  memory: createMemoryLedger,
} satisfies Record<string, <Context>() => Ledger<Context>>

export type LedgerKind = keyof typeof ledgers

export const ledgerKinds = Object.keys(ledgers) as readonly LedgerKind[]

export function createLedger<Context>(kind: LedgerKind): Ledger<Context> {
  return ledgers[kind]<Context>()
}
