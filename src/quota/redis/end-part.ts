import type { Part } from './buckets.js'
import type { End } from '../end.js'
import type { Ended, Hold, Reservation } from '../ledger.js'
import { storedIdempotencyKey, storedLeases, storedReservation } from './stored-keys.js'
import type { EndedReply } from './replies.js'
import { unexpected } from './room.js'
import type { RedisRoom } from './room.js'
import { requireWhole } from '../request.js'
import { amountAtEnd, quotaUnitNames } from '../units.js'

/** What a call may carry whose answer reached nobody: a reservation of its own, or the one that it repeated. */
export interface Carried {
  readonly id: string
  /** The id of the call. */
  readonly carrier: string
  readonly holds: readonly Hold[]
  /** The home first, if it is among them. */
  readonly parts: readonly Part[]
  /** Where the home did not say whose reservation the call carries there: its own, or that which has this key. */
  readonly idempotencyKey?: string
}

/** How one script ends it. */
export interface PartEnd {
  /** By unit, as `actualsOf` has them. */
  readonly actuals: object
  readonly released: boolean
  /** Undefined: by its report. */
  readonly carried: Carried | undefined
  /** Which report: where that has ended it before, and its answer was lost, it is told again. */
  readonly by?: string
  /** Nothing may come here in its place after it. */
  readonly bars: boolean
}

/** What Redis does not say of the end of a part. */
export type NotEnded = 'unknown' | 'left' | 'kept'

/** Ends a reservation in one bucket, by the script that does so at once (`lua/end.lua`). */
export type EndPart = (
  reservation: Pick<Reservation<unknown>, 'id' | 'holds'>,
  part: Part,
  how: PartEnd,
  nowEpochMs: number,
) => Promise<EndedReply | NotEnded>

export function createEndPart<Context>(room: RedisRoom<Context>): EndPart {
  const { buckets, scripts, ask, rememberEndedMs, aroundAll } = room
  return async ({ id, holds }, part, { actuals, released, carried, bars, by }, nowEpochMs) => {
    const tag = buckets.tagOf(part.bucket)
    const key = storedReservation(id, tag)
    const { carrier = id, idempotencyKey } = carried ?? {}
    const keys = [
      key,
      storedLeases(tag),
      storedReservation(carrier, tag),
      idempotencyKey === undefined ? key : storedIdempotencyKey(idempotencyKey, tag),
      ...room.partitionsOf(part, holds),
    ]
    const call = {
      actuals,
      released,
      ...(carried === undefined ? {} : { abandoned: carrier }),
      ...(idempotencyKey === undefined ? {} : { byKey: true }),
      ...(bars ? { bars } : {}),
      ...(by === undefined ? {} : { by }),
      rememberMs: rememberEndedMs,
    }
    const reply = await ask(scripts.end, keys, call, room.nowAt(nowEpochMs, key), aroundAll)
    if (reply[0] === 'unknown' || reply[0] === 'left' || reply[0] === 'kept') return reply[0]
    if (reply[0] !== 'ended') throw unexpected(reply[0])
    return reply
  }
}

/** What a reservation came to, in all its parts. */
export function endedWith<Context>(
  reservation: Reservation<Context>,
  end: End,
  late: boolean,
): Ended<Context> {
  const actuals = actualsOf(end)
  const charges = reservation.holds.map(({ quota, amount }) => {
    // Nobody knows, or this release of Tollgate does not know the unit: it came to what it held (`lua/end.lua`).
    const actual = actuals[quota.unit] ?? amount
    return { actual, debt: quota.window.kind === 'open' ? 0 : Math.max(0, actual - amount) }
  })
  return { reservation, outcome: end.kind, late, charges }
}

/** By unit; the same for all reservations. A unit that is left out came to what it held (`lua/end.lua`). */
export function actualsOf(end: End): Partial<Record<string, number>> {
  return Object.fromEntries(
    quotaUnitNames.flatMap((unit) => {
      const amount = amountAtEnd(unit, end)
      return amount === undefined ? [] : [[unit, requireWhole('amount at the end', amount)]]
    }),
  )
}
