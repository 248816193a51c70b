import { ComingError } from '../../errors.js'
import type { Part } from './buckets.js'
import type { End } from '../end.js'
import { actualsOf, createEndPart, endedWith } from './end-part.js'
import { createGivingBack } from './giving-back.js'
import type { GivingBack, Known } from './giving-back.js'
import type { Ended, Found, Reservation } from '../ledger.js'
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
    known?: Known<Context>,
  ): Promise<Ended<Context> | undefined>
  /** A call passes by it that this process did not make: it needs not be asked for again where the answer is lost. */
  remember(reservation: Reservation<Context>): void
  forgetDue(nowEpochMs: number): void
}

interface Begun<Context> {
  readonly reservation: Reservation<Context>
  readonly late: boolean
}

export function createRedisEnds<Context>(room: RedisRoom<Context>): RedisEnds<Context> {
  const { buckets, scripts, ask, own, reader, rememberEndedMs } = room
  const maxWeight = room.remembered.eachBytes
  const endPart = createEndPart(room)
  /** What has ended at home, and not yet everywhere; of what is forgotten, leases end the rest. */
  const begun = createRecent<Begun<Context>>(rememberEndedMs, {
    maxWeight,
    weightOf: ({ reservation }) => bytesOf(reservation),
  })
  /** Between the question for a reservation of another process, and its end. */
  const found = createRecent<Reservation<Context>>(rememberEndedMs, {
    maxWeight,
    weightOf: bytesOf,
  })

  async function find(id: string, nowEpochMs: number): Promise<Reservation<Context> | undefined> {
    const tag = buckets.tagOf(buckets.homeOfId(id))
    const key = storedReservation(id, tag)
    // Where the moments are given, what is known here is a moment older too.
    const nowMs = room.nowAt(nowEpochMs, key)
    const known = own.get(id) ?? begun.get(id)?.reservation
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
    reservation: Reservation<Context>,
    home: number,
    end: End,
    nowEpochMs: number,
  ): Promise<Ended<Context> | undefined> {
    const { id, holds } = reservation
    const parts = buckets.partsOf(holds, home)
    const actuals = actualsOf(end)
    const released = end.kind === 'released'
    const how = { actuals, released, carried: undefined }
    const outcomes = await Promise.allSettled(
      parts.map((part) => {
        const bars = part.bucket !== home
        return endPart(reservation, part, { ...how, bars }, nowEpochMs)
      }),
    )
    const seen: Seen[] = []
    let ended: Begun<Context> | undefined
    for (const [index, outcome] of outcomes.entries()) {
      if (outcome.status === 'rejected' || typeof outcome.value === 'string') continue
      const [, , atMs, late, figures] = outcome.value
      room.see(seen, parts[index] as Part, holds, figures, atMs)
      if (index === 0) ended = { reservation, late: late === 1 }
    }
    ended ??= begun.get(id)
    begun.remove(id)
    const failed = outcomes.find((outcome) => outcome.status === 'rejected')
    if (failed !== undefined) {
      // Said again, the home no longer knows: what it said is kept until all the others have ended it too, as long as
      // the report is tried again.
      if (ended !== undefined) begun.add(id, ended)
      throw failed.reason
    }
    found.remove(id)
    // It may have been ended by another process, or by its lease.
    own.remove(id, ended !== undefined && released)
    return ended && endedWith(ended.reservation, end, ended.late)
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

  const givingBack = createGivingBack({ room, endPart, find: knownToGiveBack, homeOf })

  return {
    ...givingBack,

    async find(id, nowEpochMs) {
      const reservation = await find(id, nowEpochMs)
      // The time since the answer, of what was made here.
      return reservation && { ...reservation, heldMs: own.heldMs(id) }
    },

    async end(id, end, nowEpochMs, given) {
      const reservation = given?.reservation ?? (await known(id, nowEpochMs))
      if (reservation === undefined) return undefined
      const home = given?.home ?? homeOf(reservation.id)
      const ended = await endByReport(reservation, home, end, nowEpochMs)
      found.remove(id)
      return ended
    },

    remember,

    forgetDue(nowEpochMs) {
      found.rotate(nowEpochMs)
      begun.rotate(nowEpochMs)
    },

    clear() {
      givingBack.clear()
      begun.clear()
      found.clear()
    },
  }
}
