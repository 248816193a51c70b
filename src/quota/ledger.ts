import type { End } from './end.js'
import type { Quota } from './quota.js'

export type { End } from './end.js'

/** What one request holds against one partition of one quota. */
export interface Hold {
  readonly quota: Quota
  /** Spelled only by `keys.ts`; two different partitions never share one (invariant 8). */
  readonly partitionKey: string
  /** Whole units, 0 to 2^53 - 1. */
  readonly amount: number
}

/** Where one quota stands for one partition. All figures in the quota's own unit. */
export interface Balance {
  readonly quota: Quota
  readonly partitionKey: string
  /** Ended reservations that still count in the window, each with at most its reserved amount. */
  readonly spent: number
  /** Open reservations that count in the window. */
  readonly reserved: number
  /** What actual usage exceeded its reservation by and has not yet fallen away. */
  readonly debt: number
  /** max(0, limit - spent - reserved - debt). */
  readonly remaining: number
  /**
   * How long until the whole limit is there again if nothing more is asked; for display. In an open window
   * nobody knows: 1000 while anything is held.
   */
  readonly resetMs: number
}

/** A reservation that is held, or was ended; `context` is what admission knew and the report needs. */
export interface Reservation<Context> {
  /** 128 random bits, base64url: whoever knows it can end the reservation. */
  readonly id: string
  readonly context: Context
  readonly holds: readonly Hold[]
  readonly admittedAtEpochMs: number
}

/** A reservation, and the bucket of its home. */
export interface Homed<Context> {
  readonly reservation: Reservation<Context>
  readonly home: number
}

/**
 * What the tries of one report have come to, as the ledger has it. It is kept with the report: a part that has ended is
 * known to a store no more, so without it the next try would find nothing, and end nothing of the others.
 */
export interface Tries<Context> {
  /** Of this report alone; given by the ledger. */
  by?: string
  /** What the report ends, once some of it may have ended. */
  begun?: Homed<Context>
  /** What it came to: said by its home, though not all other parts have ended. */
  ended?: Ended<Context> | undefined
}

/** A reservation, and how long it has been held: by a clock that cannot be set, not by what its caller takes for now. */
export interface Found<Context> extends Reservation<Context> {
  /** Undefined where another process made it: each clock that both see can have been set back since. */
  readonly heldMs: number | undefined
}

export interface ReserveRequest<Context> {
  /** The id to use if this is the first time `idempotencyKey` is seen. */
  readonly id: string
  /** Envoy's stream id and start time. A repeated reserve answers with the first reservation, unless it was released. */
  readonly idempotencyKey: string
  readonly holds: readonly Hold[]
  readonly context: Context
  /** How long the reservation waits for its report. */
  readonly leaseMs: number
  /**
   * When the answer must be there, by the monotonic clock, however often a store is asked for it. Default: as the
   * adapter has it for one call.
   */
  readonly dueMonotonicMs?: number
  /** Nothing is asked without what fails of it, so no time is kept for that. */
  readonly isLast?: boolean
  /** Holds that the request is refused without, beside those of quotas that say so. */
  readonly needed?: readonly Hold[]
  /** If an earlier call leaves it undecided, it is asked once more: no silent node is waited for to see that call. */
  readonly mayBeAskedAgain?: boolean
}

export interface Held<Context> {
  readonly kind: 'held'
  readonly reservation: Reservation<Context>
  /** True when an earlier call with the same key holds it already. */
  readonly repeated: boolean
  /** Which of the calls that were answered with the reservation this one is, for `abandon`. */
  readonly carrier: string
  /** One per hold, in the same order, after this reservation. */
  readonly balances: readonly Balance[]
  /** Shadow quotas that would have refused. */
  readonly shadowShort: readonly Quota[]
}

/** The request does not fit; nothing is held anywhere. */
export interface Short {
  readonly kind: 'short'
  /** Of all quotas that are short the one that is so for longest: the request needs them all. */
  readonly quota: Quota
  /**
   * When `amount` will fit if nothing else happens, from now; at least 1. In an
   * open window any request's end may make room at any moment: 1000.
   * Undefined when it can never fit: the amount is larger than the limit itself.
   */
  readonly retryAfterMs: number | undefined
  /** One per hold, in the same order. */
  readonly balances: readonly Balance[]
}

export interface Ended<Context> {
  readonly reservation: Reservation<Context>
  readonly outcome: End['kind'] | 'unsettled'
  /** It had been `unsettled` before: the report came after the lease. */
  readonly late: boolean
  /** Per hold, in the order of `reservation.holds`: what it came to, and what of it is debt. */
  readonly charges: readonly { readonly actual: number; readonly debt: number }[]
}

export interface LedgerSize {
  /** Partitions with anything spent, reserved or owed, and those that a remembered reservation is held in. */
  readonly partitions: number
  /** Reservations that a report would end. */
  readonly reservations: number
  /** Processes that share the store, as seen last; 0 as long as this one has no share, absent where there is no store. */
  readonly processes?: number
  /** What its store is still to be told that no answer carries: refused, or given up. Absent where there is no store. */
  readonly toGiveBack?: number
}

/**
 * Where spending is kept. Every adapter passes `test/quota/ledger.contract.ts`.
 *
 * The contract (invariants 3, 4, 5, 8, 9 of docs/design.md):
 * - `reserve` is all-or-nothing over its holds and idempotent by `idempotencyKey`. At every admission, for each
 *   hold of a non-shadow quota: spent + reserved + debt + amount <= limit.
 * - A reservation counts in the windows that contain its admission, with at most its reserved amount; the
 *   excess of actual usage becomes debt once, at its settlement.
 * - `end` takes effect once; a second end, or an unknown id, changes nothing and answers undefined.
 * - A lease that runs out keeps the whole reservation as spent and frees `in_flight`; a later `end` still
 *   settles it, once, as long as the reservation is remembered (at least one more lease).
 * - State is freed when it can no longer matter.
 * - `nowEpochMs` is given by the caller and never goes backwards by itself; an adapter with a clock of its own
 *   (Redis `TIME`) may ignore it.
 *
 * @throws DependencyError the store did not answer: nothing may be assumed held or ended
 * @throws FullError from `reserve`: the ledger has no room for what is new
 */
export interface Ledger<Context> {
  /**
   * Is a non-shadow quota known to have nothing left, and short therefore? Then what `reserve` would answer with the
   * same holds: a quota that has something left, but too little, can be the one that makes it wait. Reads only.
   * Undefined where that is not known, and for a key that `reserve` would answer with its first reservation: that may be
   * the very one that used the quota up.
   */
  exhausted(
    request: Pick<ReserveRequest<Context>, 'holds' | 'idempotencyKey'>,
    nowEpochMs: number,
  ): Promise<Short | undefined>
  reserve(request: ReserveRequest<Context>, nowEpochMs: number): Promise<Held<Context> | Short>
  /** The reservation, while it is open or its late report would still settle it. */
  find(id: string, nowEpochMs: number): Promise<Found<Context> | undefined>
  /** @param tries of the one report that ends it, where it is tried again after a failure */
  end(
    id: string,
    end: End,
    nowEpochMs: number,
    tries?: Tries<Context>,
  ): Promise<Ended<Context> | undefined>
  /**
   * An answer that carried the reservation never reached the caller. Releases it if no other one carries it: of a
   * `reserve` that was repeated each answer does, and it ends with the last of them, its report or its lease.
   *
   * @param carrier as the answer had it; default: that of the call which made the reservation
   */
  abandon(id: string, nowEpochMs: number, carrier?: string): Promise<Ended<Context> | undefined>
  /**
   * Ends the reservations whose lease ran out, and those whose `abandon` failed (`released`), and frees what can no longer
   * matter. Called about once a second. Where something has failed and nothing has ended it rejects, after all was done
   * that could be: the same fails again the next time.
   *
   * @param onFailure is told of the first failure where something else has ended, which nobody else is told of
   */
  expire(
    nowEpochMs: number,
    onFailure?: (error: unknown) => void,
  ): Promise<readonly Ended<Context>[]>
  /** Where the given partitions stand; for `/usage`. `amount` of the holds is ignored. */
  balances(holds: readonly Hold[], nowEpochMs: number): Promise<readonly Balance[]>
  /** How much this process holds at this moment; for metrics, and for a drain that waits for reports. */
  size(): LedgerSize
  close(): Promise<void>
}
