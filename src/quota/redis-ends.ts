import { DependencyError } from '../errors.js'
import { inTime } from '../store/store.js'
import type { Part } from './buckets.js'
import type { End } from './end.js'
import type { Ended, Hold, Reservation } from './ledger.js'
import { storedLeases, storedReservation } from './redis-keys.js'
import type { EndedReply } from './redis-replies.js'
import { unexpected } from './redis-room.js'
import type { RedisRoom, Seen } from './redis-room.js'
import { createRecent } from './recent.js'
import { requireWhole } from './request.js'
import { amountAtEnd, quotaUnitNames } from './units.js'

/** What may be held under an id. */
export interface MayBeHeld {
  readonly id: string
  readonly holds: readonly Hold[]
  /** The home first, if it may hold something. */
  readonly parts: readonly Part[]
}

/** How reservations end: by their report, or since their answer reached nobody. */
export interface RedisEnds<Context> {
  find(id: string, nowEpochMs: number): Promise<Reservation<Context> | undefined>
  end(id: string, end: End, nowEpochMs: number): Promise<Ended<Context> | undefined>
  abandon(id: string, nowEpochMs: number): Promise<Ended<Context> | undefined>
  /** No answer reached this process, so none reaches the caller: what may be held is released. */
  abandonInBackground(held: MayBeHeld, nowEpochMs: number): void
  /**
   * Gives the parts back, whatever other answer carries them: the reservation is not whole, and never will be. That has
   * a time of its own; it is waited for until `dueMs`.
   *
   * @returns by the place among the holds, where they stand now; nothing where that could not be done yet
   */
  release(held: MayBeHeld, nowEpochMs: number, dueMs: number): Promise<readonly Seen[]>
  /** Tries again what could not be given back. Never fails but for the first failure, after all were tried. */
  retry(nowEpochMs: number): Promise<void>
  forgetDue(nowEpochMs: number): void
  clear(): void
}

interface Begun<Context> {
  readonly reservation: Reservation<Context>
  readonly late: boolean
}

type How = 'by report' | 'abandon' | 'release'

/** Reservations whose answer was lost, to be released as soon as Redis answers. Beyond, their lease ends them. */
const MAX_UNANSWERED = 10_000
const MAX_ABANDONED_PER_RETRY = 200
/** Reservations that ended in a part of their buckets; beyond, their leases end the rest. */
const MAX_BEGUN = 10_000
/** Between the question for a reservation of another process, and its end. */
const MAX_FOUND = 10_000

export function createRedisEnds<Context>(room: RedisRoom<Context>): RedisEnds<Context> {
  const { buckets, scripts, ask, own, reader, rememberEndedMs, aroundAll } = room
  const unanswered = new Map<string, MayBeHeld & { readonly how: How }>()
  /** What has ended at home, and not yet everywhere. */
  const begun = new Map<string, Begun<Context>>()
  const found = createRecent<Reservation<Context>>(rememberEndedMs)

  async function find(id: string, nowEpochMs: number): Promise<Reservation<Context> | undefined> {
    const known = own.get(id) ?? begun.get(id)?.reservation
    if (known !== undefined) return known
    const key = storedReservation(id, buckets.tagOf(buckets.homeOfId(id)))
    const reply = await ask(scripts.find, [key], {}, room.nowAt(nowEpochMs, key), () => ({}))
    if (reply[0] === 'unknown') return undefined
    if (reply[0] !== 'found') throw unexpected(reply[0])
    const reservation = reader.read(reply[2])
    if (found.count() < MAX_FOUND) found.add(id, reservation)
    return reservation
  }

  /** Where it stands, or undefined: there is nothing of it, or it is kept. */
  async function endPart(
    { id, holds }: Omit<MayBeHeld, 'parts'>,
    part: Part,
    { actuals, how, released }: { actuals: object; how: How; released: boolean },
    nowEpochMs: number,
  ): Promise<EndedReply | 'unknown' | 'kept'> {
    const tag = buckets.tagOf(part.bucket)
    const key = storedReservation(id, tag)
    const keys = [key, storedLeases(tag), ...room.partitionsOf(part, holds)]
    const call = { actuals, released, abandon: how === 'abandon', rememberMs: rememberEndedMs }
    const reply = await ask(scripts.end, keys, call, room.nowAt(nowEpochMs, key), aroundAll)
    if (reply[0] === 'unknown' || reply[0] === 'kept') return reply[0]
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
    end: End,
    nowEpochMs: number,
  ): Promise<Ended<Context> | undefined> {
    const { id, holds } = reservation
    const parts = buckets.partsOf(holds, homeOf(reservation))
    const actuals = actualsOf(end)
    const released = end.kind === 'released'
    const how = { actuals, how: 'by report', released } as const
    const outcomes = await Promise.allSettled(
      parts.map((part) => endPart(reservation, part, how, nowEpochMs)),
    )
    const seen: Seen[] = []
    let ended: Begun<Context> | undefined
    for (const [index, outcome] of outcomes.entries()) {
      if (outcome.status === 'rejected' || typeof outcome.value === 'string') continue
      const [, , atMs, late, figures] = outcome.value
      room.see(seen, parts[index] as Part, holds, figures, atMs)
      if (index === 0) ended = { reservation, late: late === 1 }
    }
    const failed = outcomes.find((outcome) => outcome.status === 'rejected')
    if (failed !== undefined) {
      // Said again, the home no longer knows: what it said is kept until all the others have ended it too.
      if (ended !== undefined && begun.size < MAX_BEGUN) begun.set(id, ended)
      throw failed.reason
    }
    ended ??= begun.get(id)
    begun.delete(id)
    // It may have been ended by another process, or by its lease.
    own.remove(id, ended !== undefined && released)
    return ended && endedWith(ended.reservation, end, ended.late)
  }

  /** The home first: where another answer carries the reservation, all of it stays. */
  async function giveBack(
    held: MayBeHeld & { readonly how: How },
    nowEpochMs: number,
  ): Promise<{
    readonly home: EndedReply | 'unknown' | 'kept' | undefined
    readonly seen: readonly Seen[]
  }> {
    const { holds, parts, how } = held
    const seen: Seen[] = []
    const giveBackPart = async (part: Part): Promise<EndedReply | 'unknown' | 'kept'> => {
      const end = { actuals: actualsOf({ kind: 'released' }), how, released: true }
      const reply = await endPart(held, part, end, nowEpochMs)
      if (typeof reply !== 'string') room.see(seen, part, holds, reply[4], reply[2])
      return reply
    }
    try {
      const [home, ...others] = parts
      const first = home && (await giveBackPart(home))
      if (first !== 'kept') {
        const outcomes = await Promise.allSettled(others.map(giveBackPart))
        const failed = outcomes.find((outcome) => outcome.status === 'rejected')
        if (failed !== undefined) throw failed.reason
      }
      unanswered.delete(nameOf(held))
      return { home: first, seen }
    } catch (error) {
      if (error instanceof DependencyError) later(held)
      throw error
    }
  }

  /** Where that fails, what is at its home is abandoned later: of one that this process did not make no more is known. */
  async function findToAbandon(
    id: string,
    nowEpochMs: number,
  ): Promise<Reservation<Context> | undefined> {
    try {
      return await find(id, nowEpochMs)
    } catch (error) {
      const parts = buckets.partsOf([], buckets.homeOfId(id))
      if (error instanceof DependencyError) later({ id, holds: [], parts, how: 'abandon' })
      throw error
    }
  }

  function later(held: MayBeHeld & { readonly how: How }): void {
    // Last in the queue: what fails again must not keep back what would not.
    unanswered.delete(nameOf(held))
    if (unanswered.size < MAX_UNANSWERED) unanswered.set(nameOf(held), held)
  }

  function homeOf({ id }: Reservation<Context>): number {
    return own.homeOf(id) ?? buckets.homeOfId(id)
  }

  return {
    find,

    async end(id, end, nowEpochMs) {
      const reservation = own.get(id) ?? found.get(id) ?? (await find(id, nowEpochMs))
      return reservation && endByReport(reservation, end, nowEpochMs)
    },

    async abandon(id, nowEpochMs) {
      const reservation = own.get(id) ?? (await findToAbandon(id, nowEpochMs))
      const home = reservation === undefined ? buckets.homeOfId(id) : homeOf(reservation)
      const holds = reservation?.holds ?? []
      const parts = buckets.partsOf(holds, home)
      const answer = await giveBack({ id, holds, parts, how: 'abandon' }, nowEpochMs)
      if (typeof answer.home !== 'object' || reservation === undefined) return undefined
      own.remove(id, true)
      return endedWith(reservation, { kind: 'released' }, answer.home[3] === 1)
    },

    abandonInBackground(held, nowEpochMs) {
      const given = { ...held, how: 'abandon' } as const
      later(given)
      giveBack(given, nowEpochMs).catch(() => {
        // It is tried again by `retry`.
      })
    },

    async release(held, nowEpochMs, dueMs) {
      if (held.parts.length === 0) return []
      try {
        const given = giveBack({ ...held, how: 'release' }, nowEpochMs)
        return (await inTime(room.clock, given, dueMs)).seen
      } catch (error) {
        if (error instanceof DependencyError) return []
        throw error
      }
    },

    async retry(nowEpochMs) {
      const failures: unknown[] = []
      for (const held of [...unanswered.values()].slice(0, MAX_ABANDONED_PER_RETRY)) {
        await giveBack(held, nowEpochMs).catch((error: unknown) => failures.push(error))
      }
      if (failures.length > 0) throw failures[0]
    },

    forgetDue(nowEpochMs) {
      found.rotate(nowEpochMs)
    },

    clear() {
      unanswered.clear()
      begun.clear()
      found.clear()
    },
  }
}

/** Of one id a part may be on its way back while others are abandoned: what became of the one says nothing of them. */
function nameOf({ id, parts, how }: MayBeHeld & { readonly how: How }): string {
  return `${how} ${parts.map(({ bucket }) => bucket).join()} ${id}`
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
