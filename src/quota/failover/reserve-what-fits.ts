import { FullError } from '../full-error.js'
import { mayPass } from '../quota.js'
import type { Held, Hold, Ledger, ReserveRequest, Short } from '../ledger.js'
import type { Quota } from '../quota.js'

/** What a ledger that may be full made of a request. */
export type Fitted<Context> =
  | { readonly answer: Held<Context> | Short; readonly uncounted: readonly Hold[] }
  /** A quota that must be asked found no room. */
  | { readonly refusing: Quota }

/**
 * Reserves in a ledger that may be full: a hold that finds no room there is left out where its quota lets pass, and
 * the others are held as ever. A ledger without room for another reservation holds none of them.
 */
export async function reserveWhatFits<Context>(
  request: ReserveRequest<Context>,
  ledger: Ledger<Context>,
  nowEpochMs: number,
): Promise<Fitted<Context>> {
  const uncounted: Hold[] = []
  let { holds } = request
  for (;;) {
    try {
      const answer = await ledger.reserve({ ...request, holds }, nowEpochMs)
      return { answer, uncounted }
    } catch (error) {
      if (!(error instanceof FullError)) throw error
      const refusing = error.holds.find(({ quota }) => !mayPass(quota))
      if (refusing !== undefined) return { refusing: refusing.quota }
      if (holds.length === 0) return { answer: unremembered(request, nowEpochMs), uncounted }
      uncounted.push(...error.holds)
      const left = new Set(error.holds)
      holds = holds.filter((hold) => !left.has(hold))
    }
  }
}

/** There is no room even for a reservation of nothing: it passes, and its report will find none. */
function unremembered<Context>(
  { id, context }: ReserveRequest<Context>,
  nowEpochMs: number,
): Held<Context> {
  const reservation = { id, context, holds: [], admittedAtEpochMs: nowEpochMs }
  return { kind: 'held', reservation, repeated: false, carrier: id, balances: [], shadowShort: [] }
}
