import { ComingError } from '../../errors.js'
import type { Part } from './buckets.js'
import type { End } from '../end.js'
import { actualsOf, createEndPart, endedWith } from './end-part.js'
import { createGivingBack } from './giving-back.js'
import type { GivingBack, Known } from './giving-back.js'
import type { Ended, Found, Homed, Reservation, Tries } from '../ledger.js'
import { storedComing, storedReservation } from './stored-keys.js'
import { unexpected } from './room.js'
import type { Seen } from '../balance.js'
import type { RedisRoom } from './room.js'
import { createRecent } from '../recent.js'
import { bytesOf } from '../remembered.js'

/** How reservations end: by their report, or since no answer carries them any more. */
export interface RedisEnds<Context> extends GivingBack<Context> {
  find(id: string, nowEpochMs: number): Promise<Found<Context> | undefined>
  end(
    id: string,
    end: End,
    nowEpochMs: number,
    tries?: Tries<Context>,
    known?: Known<Context>,
  ): Promise<Ended<Context> | undefined>
  /** A call passes by it that this process did not make: it needs not be asked for again where the answer is lost. */
  remember(reservation: Reservation<Context>): void
  forgetDue(nowEpochMs: number): void
}

export function createRedisEnds<Context>(room: RedisRoom<Context>): RedisEnds<Context> {
  const { buckets, scripts, ask, own, reader, rememberEndedMs } = room
  const endPart = createEndPart(room)
  /** Between the question for a reservation of another process, and its end. */
  const found = createRecent<Reservation<Context>>(rememberEndedMs, {
    maxWeight: room.remembered.eachBytes,
    weightOf: bytesOf,
  })

  async function find(id: string, nowEpochMs: number): Promise<Reservation<Context> | undefined> {
    const tag = buckets.tagOf(buckets.homeOfId(id))
    const key = storedReservation(id, tag)
    // Where the moments are given, what is known here is a moment older too.
    const nowMs = room.nowAt(nowEpochMs, key)
    const known = own.get(id)
    if (known !== undefined) return known
    const call = { coming: storedComing(id, tag) }
    const reply = await ask(scripts.find, [key], call, nowMs, () => ({}))
    if (reply[0] === 'unknown') return undefined
    if (reply[0] === 'coming') {
      throw new ComingError('ledger', 'Redis is yet to be told of the reservation')
    }
    if (reply[0] !== 'found') throw unexpected(reply[0])
    const reservation = reader.read(reply[2])
    remember(reservation)
    // As its report asks for it again: once its home has ended, it says no more where its other parts are.
    if (id !== reservation.id) found.add(id, reservation)
    return reservation
  }

  function remember(reservation: Reservation<Context>): void {
    found.add(reservation.id, reservation)
  }

  async function endByReport(
    begun: Homed<Context>,
    end: End,
    tries: Tries<Context>,
    nowEpochMs: number,
  ): Promise<Ended<Context> | undefined> {
    const { reservation, home } = begun
    const { id, holds } = reservation
    const by = (tries.by ??= room.nextReport())
    const parts = buckets.partsOf(holds, home)
    const actuals = actualsOf(end)
    const released = end.kind === 'released'
    const how = { actuals, released, carried: undefined, by }
    const outcomes = await Promise.allSettled(
      parts.map((part) => {
        const bars = part.bucket !== home
        return endPart(reservation, part, { ...how, bars }, nowEpochMs)
      }),
    )
    const seen: Seen[] = []
    let { ended } = tries
    for (const [index, outcome] of outcomes.entries()) {
      if (outcome.status === 'rejected' || typeof outcome.value === 'string') continue
      const [, , atMs, late, figures] = outcome.value
      // None are told of what was released before.
      if (figures.length > 0) room.see(seen, parts[index] as Part, holds, figures, atMs)
      if (index === 0) ended = endedWith(reservation, end, late === 1)
    }
    const failed = outcomes.find((outcome) => outcome.status === 'rejected')
    if (failed !== undefined) {
      tries.begun = begun
      if (ended !== undefined) tries.ended = ended
      throw failed.reason
    }
    found.remove(id)
    // It may have been ended by another process, or by its lease.
    own.remove(id, ended !== undefined && released)
    return ended
  }

  /** As far as it is known here, it is not asked for. */
  async function known(id: string, nowEpochMs: number): Promise<Reservation<Context> | undefined> {
    return own.get(id) ?? found.get(id) ?? find(id, nowEpochMs)
  }

  /** What is given up before Redis is told of it finds that under its id when it comes. */
  async function knownToGiveBack(
    id: string,
    nowEpochMs: number,
  ): Promise<Reservation<Context> | undefined> {
    try {
      return await known(id, nowEpochMs)
    } catch (error) {
      if (error instanceof ComingError) return undefined
      throw error
    }
  }

  function homeOf(id: string): number {
    return own.homeOf(id) ?? buckets.homeOfId(id)
  }

  async function knownBy(id: string, nowEpochMs: number): Promise<Homed<Context> | undefined> {
    const reservation = await known(id, nowEpochMs)
    return reservation && { reservation, home: homeOf(reservation.id) }
  }

  const givingBack = createGivingBack({ room, endPart, find: knownToGiveBack, homeOf })

  return {
    ...givingBack,

    async find(id, nowEpochMs) {
      const reservation = await find(id, nowEpochMs)
      // The time since the answer, of what was made here.
      return reservation && { ...reservation, heldMs: own.heldMs(id) }
    },

    async end(id, end, nowEpochMs, tries = {}, given = undefined) {
      const begun = tries.begun ?? given ?? (await knownBy(id, nowEpochMs))
      if (begun === undefined) return undefined
      const ended = await endByReport(begun, end, tries, nowEpochMs)
      found.remove(id)
      return ended
    },

    remember,

    forgetDue(nowEpochMs) {
      found.rotate(nowEpochMs)
    },

    clear() {
      givingBack.clear()
      found.clear()
    },
  }
}
