import type { Held, Ledger, ReserveRequest, Short } from '../ledger.js'
import type { Quota } from '../quota.js'

/**
 * What a quota could not be asked, and what came of it. `store`: the store failed. `share`: it did, and this process's
 * share has no room, or there is none. `full`: the ledger of this process has no room for what is new.
 */
export type StoreFailure = 'store' | 'share' | 'full'

/** A quota that must be asked could not be; nothing is held anywhere. It says nothing of what is left. */
export interface Unavailable {
  readonly kind: 'unavailable'
  readonly quota: Quota
  readonly why: StoreFailure
  /** What failed; safe to log. */
  readonly fault: string
}

/** What a request was held by, where not by every quota as it should be. */
export interface Fallback {
  /** Held to this process's share alone. */
  readonly localQuotas: readonly string[]
  /** Let pass without being counted. */
  readonly uncountedQuotas: readonly string[]
  readonly why: StoreFailure
  /** What failed; safe to log. */
  readonly fault: string
}

/** A reservation, and what it is not held by. */
export interface GuardedHeld<Context> extends Held<Context> {
  /** Absent: every quota holds it. */
  readonly fallback?: Fallback
}

/**
 * A ledger that answers as each quota says when its store fails (`onStoreFailure`), and never with an error for that.
 * What ends a reservation still fails while its store is away: a report can wait, a request cannot.
 */
export interface GuardedLedger<Context> extends Omit<Ledger<Context>, 'exhausted' | 'reserve'> {
  exhausted(
    request: Pick<ReserveRequest<Context>, 'holds' | 'idempotencyKey'>,
    nowEpochMs: number,
  ): Promise<Short | Unavailable | undefined>
  reserve(
    request: ReserveRequest<Context>,
    nowEpochMs: number,
  ): Promise<GuardedHeld<Context> | Short | Unavailable>
}
