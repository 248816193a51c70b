import type { GuardedLedger } from './guarded-ledger.js'
import type { Ledger } from '../ledger.js'
import { namesOf } from './plan.js'
import { reserveWhatFits } from './reserve-what-fits.js'

const FULL = 'the ledger holds as much as it may'

/**
 * A ledger over one in this process's own memory, whose store cannot fail, but be full: a quota that finds no room there
 * is asked for what it says (`onStoreFailure`). There is nothing to fall back on, so `local` is `deny`.
 */
export function createFullLedger<Context>(main: Ledger<Context>): GuardedLedger<Context> {
  return {
    ...main,
    async reserve(request, nowEpochMs) {
      const fitted = await reserveWhatFits(request, main, nowEpochMs)
      if ('refusing' in fitted) {
        return { kind: 'unavailable', quota: fitted.refusing, why: 'full', fault: FULL }
      }
      const { answer, uncounted } = fitted
      if (answer.kind === 'short' || uncounted.length === 0) return answer
      const uncountedQuotas = namesOf(uncounted)
      return { ...answer, fallback: { why: 'full', fault: FULL, localQuotas: [], uncountedQuotas } }
    },
    size() {
      const { partitions, reservations } = main.size()
      return { partitions, reservations }
    },
  }
}
