import { DependencyError } from '../../errors.js'
import { inTime } from '../../store/store.js'
import type { Part } from './buckets.js'
import type { End } from '../end.js'
import type { Ended, Found, Hold, Reservation } from '../ledger.js'
import { storedIdempotencyKey, storedLeases, storedReservation } from './stored-keys.js'
import type { EndedReply } from './replies.js'
import { unexpected } from './room.js'
import type { Seen } from '../balance.js'
import type { RedisRoom } from './room.js'
import { createRecent } from '../recent.js'
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

/** A reservation that the process knows by other ways than its own reserve. */
export interface Known<Context> {
  readonly reservation: Reservation<Context>
  /** The bucket of its home. */
  readonly home: number
  /** Told at whichever try it turns out that no answer carries it any more. */
  readonly onGone?: () => void
}

/** How reservations end: by their report, or since no answer carries them any more. */
export interface RedisEnds<Context> {
  find(id: string, nowEpochMs: number): Promise<Found<Context> | undefined>
  end(
    id: string,
    end: End,
    nowEpochMs: number,
    known?: Known<Context>,
  ): Promise<Ended<Context> | undefined>
  abandon(
    id: string,
    nowEpochMs: number,
    carrier?: string,
    known?: Known<Context>,
  ): Promise<Ended<Context> | undefined>
  /** A call passes by it that this process did not make: it needs not be asked for again where the answer is lost. */
  remember(reservation: Reservation<Context>): void
  /**
   * A call that did not pass carries the parts no longer, each by itself. What nobody else carries is given back, now or
   * as soon as its node can be reached. That has a time of its own; it is waited for until `dueMs`.
   *
   * @returns by the place among the holds, where they stand now; nothing of what was not given back so far
   */
  leave(carried: Carried, nowEpochMs: number, dueMs: number): Promise<readonly Seen[]>
  /** The same, of parts that did not answer. */
  leaveInBackground(carried: Carried, nowEpochMs: number): void
  /**
   * Tries again what could not be given back, and adds what of it has ended by that. Never fails but for the first
   * failure, after all were tried.
   */
  retry(ended: Ended<Context>[], nowEpochMs: number): Promise<void>
  forgetDue(nowEpochMs: number): void
  clear(): void
}

interface Begun<Context> {
  readonly reservation: Reservation<Context>
  readonly late: boolean
}

/** Of one script: `undefined` says that the report ended it. */
interface PartEnd {
  readonly actuals: object
  readonly released: boolean
  readonly carried: Carried | undefined
  /** Nothing may come here in its place after it. */
  readonly bars: boolean
}

/** What Redis does not say of the end of a part. */
type NotEnded = 'unknown' | 'left' | 'kept'

interface ToGiveBack<Context> extends Carried {
  /** What a caller once had an answer for, and is told the end of. */
  readonly reservation?: Reservation<Context> | undefined
  readonly onGone?: (() => void) | undefined
  /** Asked again, the home no longer knows. Kept until all the others have given it back too. */
  readonly endedAtHome?: EndedReply | undefined
  /** It could not be asked what it is. */
  readonly isToBeFound?: boolean
}

/** What is carried by nobody, to be given back as soon as Redis answers. Beyond, their lease ends them. */
const MAX_UNANSWERED = 10_000
const MAX_ABANDONED_PER_RETRY = 200
/** Reservations that ended in a part of their buckets; beyond, their leases end the rest. */
const MAX_BEGUN = 10_000
/** Between the question for a reservation of another process, and its end. */
const MAX_FOUND = 10_000

export function createRedisEnds<Context>(room: RedisRoom<Context>): RedisEnds<Context> {
  const { buckets, scripts, ask, own, reader, rememberEndedMs, aroundAll } = room
  const unanswered = new Map<string, ToGiveBack<Context>>()
  /** What has ended at home, and not yet everywhere. */
  const begun = createRecent<Begun<Context>>(rememberEndedMs)
  const found = createRecent<Reservation<Context>>(rememberEndedMs)

  async function find(id: string, nowEpochMs: number): Promise<Reservation<Context> | undefined> {
    const key = storedReservation(id, buckets.tagOf(buckets.homeOfId(id)))
    // Where the moments are given, what is known here is a moment older too.
    const nowMs = room.nowAt(nowEpochMs, key)
    const known = own.get(id) ?? begun.get(id)?.reservation
    if (known !== undefined) return known
    const reply = await ask(scripts.find, [key], {}, nowMs, () => ({}))
    if (reply[0] === 'unknown') return undefined
    if (reply[0] !== 'found') throw unexpected(reply[0])
    const reservation = reader.read(reply[2])
    remember(reservation)
    // As its report asks for it again: once its home has ended, it says no more where its other parts are.
    if (id !== reservation.id && found.count() < MAX_FOUND) found.add(id, reservation)
    return reservation
  }

  function remember(reservation: Reservation<Context>): void {
    if (found.count() < MAX_FOUND) found.add(reservation.id, reservation)
  }

  async function endPart(
    { id, holds }: Pick<Reservation<Context>, 'id' | 'holds'>,
    part: Part,
    { actuals, released, carried, bars }: PartEnd,
    nowEpochMs: number,
  ): Promise<EndedReply | NotEnded> {
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
      rememberMs: rememberEndedMs,
    }
    const reply = await ask(scripts.end, keys, call, room.nowAt(nowEpochMs, key), aroundAll)
    if (reply[0] === 'unknown' || reply[0] === 'left' || reply[0] === 'kept') return reply[0]
    if (reply[0] !== 'ended') throw unexpected(reply[0])
    return reply
  }

  function endedWith(reservation: Reservation<Context>, end: End, late: boolean): Ended<Context> {
    const actuals = actualsOf(end)
    const charges = reservation.holds.map(({ quota, amount }) => {
      // Nobody knows, or this release of Tollgate does not know the unit: it came to what it held (`lua/end.lua`).
      const actual = actuals[quota.unit] ?? amount
      return { actual, debt: quota.window.kind === 'open' ? 0 : Math.max(0, actual - amount) }
    })
    return { reservation, outcome: end.kind, late, charges }
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
      if (ended !== undefined && begun.count() < MAX_BEGUN) begun.add(id, ended)
      throw failed.reason
    }
    found.remove(id)
    // It may have been ended by another process, or by its lease.
    own.remove(id, ended !== undefined && released)
    return ended && endedWith(ended.reservation, end, ended.late)
  }

  /** The home first: where it ended otherwise, or not all are known that carry it, all of it stays. */
  async function giveBack(
    carried: ToGiveBack<Context>,
    nowEpochMs: number,
  ): Promise<{ readonly home: EndedReply | NotEnded | undefined; readonly seen: readonly Seen[] }> {
    const { holds, parts, idempotencyKey } = carried
    const seen: Seen[] = []
    const name = nameOf(carried)
    let endedAtHome = unanswered.get(name)?.endedAtHome
    const giveBackPart = async (part: Part): Promise<EndedReply | NotEnded> => {
      const end = { actuals: actualsOf({ kind: 'released' }), released: true, carried, bars: false }
      const reply = await endPart(carried, part, end, nowEpochMs)
      // By its key it may have been another reservation, with other holds.
      const isKnown = typeof reply !== 'string' && idempotencyKey === undefined
      if (isKnown) room.see(seen, part, holds, reply[4], reply[2])
      return reply
    }
    try {
      const [home, ...others] = parts
      const first = endedAtHome ?? (home && (await giveBackPart(home)))
      if (typeof first === 'object') endedAtHome = first
      if (first !== 'kept') {
        const outcomes = await Promise.allSettled(others.map(giveBackPart))
        const failed = outcomes.find((outcome) => outcome.status === 'rejected')
        if (failed !== undefined) throw failed.reason
      }
      unanswered.delete(name)
      return { home: first, seen }
    } catch (error) {
      if (error instanceof DependencyError) later({ ...carried, endedAtHome })
      throw error
    }
  }

  /** What ended at home by being given back; nothing more is remembered of it, but where another answer carries it. */
  function endedByGivingBack(
    { id, reservation, onGone }: ToGiveBack<Context>,
    home: EndedReply | NotEnded | undefined,
  ): Ended<Context> | undefined {
    if (reservation === undefined || home === 'kept' || home === 'left') return undefined
    own.remove(id, true)
    onGone?.()
    if (typeof home !== 'object') return undefined
    return endedWith(reservation, { kind: 'released' }, home[3] === 1)
  }

  /** Where that fails, it is asked for again later, and abandoned. */
  async function findToAbandon(
    id: string,
    carrier: string,
    nowEpochMs: number,
  ): Promise<Reservation<Context> | undefined> {
    try {
      return await find(id, nowEpochMs)
    } catch (error) {
      const parts = buckets.partsOf([], buckets.homeOfId(id))
      if (error instanceof DependencyError) {
        later({ id, carrier, holds: [], parts, isToBeFound: true })
      }
      throw error
    }
  }

  async function abandon(
    id: string,
    nowEpochMs: number,
    carrier = id,
    known?: Known<Context>,
  ): Promise<Ended<Context> | undefined> {
    const reservation =
      known?.reservation ??
      own.get(id) ??
      found.get(id) ??
      (await findToAbandon(id, carrier, nowEpochMs))
    const home = known?.home ?? homeOf(reservation?.id ?? id)
    const holds = reservation?.holds ?? []
    const parts = buckets.partsOf(holds, home)
    // It may be known by the id of another of its answers, which leads to it at home alone.
    const given = {
      ...{ id: reservation?.id ?? id, carrier, holds, parts, reservation },
      onGone: known?.onGone,
    }
    return endedByGivingBack(given, (await giveBack(given, nowEpochMs)).home)
  }

  /** It is kept under the parts that it is found to have; if that fails again, by itself. */
  function abandonFound(held: ToGiveBack<Context>, nowEpochMs: number) {
    unanswered.delete(nameOf(held))
    return abandon(held.id, nowEpochMs, held.carrier)
  }

  function later(carried: ToGiveBack<Context>): void {
    // Last in the queue: what fails again must not keep back what would not.
    unanswered.delete(nameOf(carried))
    if (unanswered.size < MAX_UNANSWERED) unanswered.set(nameOf(carried), carried)
  }

  /** Each by itself: what is carried of one part says nothing of another. */
  function partsOf(carried: Carried): readonly Carried[] {
    return carried.parts.map((part) => ({ ...carried, parts: [part] }))
  }

  function homeOf(id: string): number {
    return own.homeOf(id) ?? buckets.homeOfId(id)
  }

  return {
    async find(id, nowEpochMs) {
      const reservation = await find(id, nowEpochMs)
      // The time since the answer, of what was made here.
      return reservation && { ...reservation, heldMs: own.heldMs(id) }
    },

    async end(id, end, nowEpochMs, known) {
      const reservation =
        known?.reservation ?? own.get(id) ?? found.get(id) ?? (await find(id, nowEpochMs))
      if (reservation === undefined) return undefined
      const home = known?.home ?? homeOf(reservation.id)
      const ended = await endByReport(reservation, home, end, nowEpochMs)
      found.remove(id)
      return ended
    },

    abandon,

    remember,

    async leave(carried, nowEpochMs, dueMs) {
      if (carried.parts.length === 0) return []
      const seen: Seen[] = []
      const leaving = partsOf(carried).map(async (part) => {
        try {
          Object.assign(seen, (await giveBack(part, nowEpochMs)).seen)
        } catch (error) {
          // It is tried again by `retry`.
          if (!(error instanceof DependencyError)) throw error
        }
      })
      await inTime(room.clock, Promise.all(leaving), dueMs).catch((error: unknown) => {
        if (!(error instanceof DependencyError)) throw error
      })
      return [...seen]
    },

    leaveInBackground(carried, nowEpochMs) {
      for (const part of partsOf(carried)) {
        later(part)
        giveBack(part, nowEpochMs).catch(() => {
          // It is tried again by `retry`.
        })
      }
    },

    async retry(ended, nowEpochMs) {
      const failures: unknown[] = []
      for (const held of [...unanswered.values()].slice(0, MAX_ABANDONED_PER_RETRY)) {
        try {
          const told =
            held.isToBeFound === true
              ? await abandonFound(held, nowEpochMs)
              : endedByGivingBack(held, (await giveBack(held, nowEpochMs)).home)
          if (told !== undefined) ended.push(told)
        } catch (error) {
          failures.push(error)
        }
      }
      if (failures.length > 0) throw failures[0]
    },

    forgetDue(nowEpochMs) {
      found.rotate(nowEpochMs)
      begun.rotate(nowEpochMs)
    },

    clear() {
      unanswered.clear()
      begun.clear()
      found.clear()
    },
  }
}

/** What became of one part, or of one that carries it, says nothing of the others. */
function nameOf({ id, carrier, parts }: Carried): string {
  return `${parts.map(({ bucket }) => bucket).join()} ${id} ${carrier}`
}

/** By unit; the same for all reservations. A unit that is left out came to what it held (`lua/end.lua`). */
function actualsOf(end: End): Partial<Record<string, number>> {
  return Object.fromEntries(
    quotaUnitNames.flatMap((unit) => {
      const amount = amountAtEnd(unit, end)
      return amount === undefined ? [] : [[unit, requireWhole('amount at the end', amount)]]
    }),
  )
}
