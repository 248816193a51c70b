import { setImmediate as nextTurn } from 'node:timers/promises'
import { DependencyError } from '../../errors.js'
import { isCarriedByNone, withoutCarrier } from '../carriers.js'
import type { DecidedHere } from './decided-here.js'
import { endedBeside, ROUND_MS } from '../expired.js'
import type { Ended, Ledger } from '../ledger.js'
import type { RedisLedger } from '../redis/redis-ledger.js'
import type { SliceTurns } from './slice-turns.js'
import type { Adoption } from './adoptions.js'
import type { Pending } from './slice-turn.js'
import type { Slices } from './slices.js'

/** How reservations end of which this process may have decided some: by their report, given up, or by their lease. */
export interface SlicedEnds<Context> {
  readonly end: Ledger<Context>['end']
  abandon(id: string, nowEpochMs: number, carrier?: string): Promise<Ended<Context> | undefined>
  /** @param nowMs the moment as this process knows it */
  expire(
    nowEpochMs: number,
    nowMs: number,
    onFailure?: (error: unknown) => void,
  ): Promise<readonly Ended<Context>[]>
  /** The store's word for what this process decided. */
  adopted(pending: Pending<Context>, adoption: Adoption, back: readonly number[]): void
  /** How much has its answer, and is not yet given up. */
  toGiveUp(): number
  /** Gives up what waited for its answer, all of it. */
  giveUpAll(nowEpochMs: number): Promise<void>
}

export interface SlicedEndsOptions<Context> {
  readonly ledger: RedisLedger<Context>
  readonly decided: DecidedHere<Context>
  readonly turns: SliceTurns<Context>
  readonly slices: Slices
  readonly tick: () => number
}

/** Beyond, the lease of what they carry ends it. */
const MAX_TO_GIVE_UP = 10_000
/** In one `expire`, beside the calls that come; the store is slow, or away, where that takes longer. */
const IN_ONE_CALL = { atMost: 200, withinMs: ROUND_MS }

/**
 * What was given up while its turn had no answer is given up when the answer is there, whatever it says, and by a call
 * as for any other: only then does the store know the carrier, if it ever does. Told sooner, it would take away what is
 * not there, and the turn, which says the same however often it is asked, would bring it after that.
 */
export function createSlicedEnds<Context>(
  options: SlicedEndsOptions<Context>,
): SlicedEnds<Context> {
  const { ledger, decided, turns, slices, tick } = options
  const toGiveUp: { readonly id: string; readonly carrier: string }[] = []

  /** No answer carries it any more, and the store never hears of it. */
  function withdraw(pending: Pending<Context>): Ended<Context> {
    turns.withdraw(pending)
    decided.withdrawn(pending)
    const charges = pending.request.holds.map(() => ({ actual: 0, debt: 0 }))
    return { reservation: pending.reservation, outcome: 'released', late: false, charges }
  }

  async function abandonInStore(
    id: string,
    nowEpochMs: number,
    carrier: string,
  ): Promise<Ended<Context> | undefined> {
    const known = decided.get(id)
    const onGone = (): void => {
      decided.remove(id, true)
    }
    const ended = await ledger.abandon(id, nowEpochMs, carrier, known && { ...known, onGone })
    if (ended === undefined) return undefined
    const reservation = decided.asMadeHere(ended.reservation)
    decided.remove(reservation.id, true)
    return { ...ended, reservation }
  }

  /**
   * Adds what has ended by it.
   *
   * @throws DependencyError the first failure, after all were tried: what failed the ledger tries again by itself
   */
  async function giveUp(
    { atMost, withinMs }: typeof IN_ONE_CALL,
    ended: Ended<Context>[],
    nowEpochMs: number,
  ): Promise<void> {
    const failures: unknown[] = []
    const startedTick = tick()
    for (let tried = 0; tried < atMost && tick() - startedTick < withinMs; tried += 1) {
      const next = toGiveUp.shift()
      if (next === undefined) break
      const { id, carrier } = next
      try {
        const told = await abandonInStore(id, nowEpochMs, carrier)
        if (told !== undefined) ended.push(told)
      } catch (error) {
        failures.push(error)
        // Where a breaker is open nothing is waited for.
        await nextTurn()
      }
    }
    if (failures.length > 0) throw failures[0]
  }

  async function expireInStore(
    ended: Ended<Context>[],
    nowEpochMs: number,
    nowMs: number,
    failed: (error: unknown) => void,
  ): Promise<void> {
    for (const each of await ledger.expire(nowEpochMs, failed)) {
      const reservation = decided.asMadeHere(each.reservation)
      ended.push({ ...each, reservation })
      if (each.outcome === 'unsettled') decided.prolong(reservation.id, nowMs)
      else decided.remove(reservation.id, true)
    }
  }

  return {
    async end(id, end, nowEpochMs, tries) {
      const pending = decided.pendingById(id)
      if (pending !== undefined) {
        turns.retry(pending)
        await turns.flush('all', bucketsOf(pending))
        // Told to end what it does not know, the store would say that there was nothing: the report comes again.
        if (decided.pendingById(id) !== undefined) {
          throw new DependencyError('ledger', 'Redis could not adopt the reservation')
        }
      }
      const ended = await ledger.end(id, end, nowEpochMs, tries, decided.get(id))
      const reservation = ended && decided.asMadeHere(ended.reservation)
      decided.remove(reservation?.id ?? id, ended !== undefined && end.kind === 'released')
      if (ended === undefined || reservation === undefined) return undefined
      // A debt is subtracted from the limit at once, so nothing more is admitted by what was free before.
      const owing = reservation.holds.filter((_, index) => (ended.charges[index]?.debt ?? 0) > 0)
      slices.giveBack(owing, tick())
      return { ...ended, reservation }
    },

    async abandon(id, nowEpochMs, carrier = id) {
      const pending = decided.pendingById(id)
      if (pending?.sent === false) {
        pending.carriers = withoutCarrier(pending.carriers, carrier)
        return isCarriedByNone(pending.carriers) ? withdraw(pending) : undefined
      }
      if (pending !== undefined) {
        await turns.flush('all', bucketsOf(pending)).catch(() => undefined)
        if (decided.pendingById(id) !== undefined) {
          pending.givenUp.add(carrier)
          return undefined
        }
      }
      return abandonInStore(id, nowEpochMs, carrier)
    },

    async expire(nowEpochMs, nowMs, onFailure) {
      const failures: unknown[] = []
      const failed = (error: unknown): void => void failures.push(error)
      const ended: Ended<Context>[] = []
      // Before what has no answer is waited for.
      turns.tellLate()
      turns.retryOldest()
      await turns.flush().catch(failed)
      await giveUp(IN_ONE_CALL, ended, nowEpochMs).catch(failed)
      await expireInStore(ended, nowEpochMs, nowMs, failed).catch(failed)
      decided.forgetDue(nowMs)
      return endedBeside(ended, failures, onFailure)
    },

    adopted(pending, adoption, back) {
      decided.adopted(pending, adoption, back)
      for (const carrier of pending.givenUp) {
        if (toGiveUp.length < MAX_TO_GIVE_UP) toGiveUp.push({ id: pending.request.id, carrier })
      }
    },

    toGiveUp: () => toGiveUp.length,

    giveUpAll: (nowEpochMs) => giveUp({ atMost: Infinity, withinMs: Infinity }, [], nowEpochMs),
  }
}

function bucketsOf({ parts }: Pending<unknown>): ReadonlySet<number> {
  return new Set(parts.map(({ bucket }) => bucket))
}
