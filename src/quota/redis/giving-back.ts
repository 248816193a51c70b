import { setImmediate as nextTurn } from 'node:timers/promises'
import { DependencyError } from '../../errors.js'
import { inTime, isOfOneCall } from '../../store/store.js'
import type { Seen } from '../balance.js'
import type { Part } from './buckets.js'
import { actualsOf, endedWith } from './end-part.js'
import type { Carried, EndPart, NotEnded } from './end-part.js'
import { MAX_ANSWERED, ROUND_MS } from '../expired.js'
import type { Ended, Homed, Reservation } from '../ledger.js'
import { bytesOf } from '../remembered.js'
import type { EndedReply } from './replies.js'
import type { RedisRoom } from './room.js'

/** A reservation that the process knows by other ways than its own reserve. */
export interface Known<Context> extends Homed<Context> {
  /** Told at whichever try it turns out that no answer carries it any more. */
  readonly onGone?: () => void
}

/** How reservations are given back that no answer carries any more. */
export interface GivingBack<Context> {
  abandon(
    id: string,
    nowEpochMs: number,
    carrier?: string,
    known?: Known<Context>,
  ): Promise<Ended<Context> | undefined>
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
   * Tries again what could not be given back, and adds what of it has ended by that. Not beside another round: there is
   * one at a time. Never fails but for the first failure, after all were tried that there was time for.
   */
  retry(ended: Ended<Context>[], nowEpochMs: number): Promise<void>
  /** How much is still to be given back, or is on its way. */
  toGiveBack(): number
  /** A last try of what is to be given back, for at most half a second. Never fails, and tells nobody. */
  giveBackAtLast(): Promise<void>
  clear(): void
}

export interface GivingBackOptions<Context> {
  readonly room: RedisRoom<Context>
  readonly endPart: EndPart
  /** @throws DependencyError the store did not say */
  readonly find: (id: string, nowEpochMs: number) => Promise<Reservation<Context> | undefined>
  /** The bucket of its home. */
  readonly homeOf: (id: string) => number
}

interface ToGiveBack<Context> extends Carried {
  /** What a caller once had an answer for, and is told the end of. */
  readonly reservation?: Reservation<Context> | undefined
  readonly onGone?: (() => void) | undefined
  /** Asked again, the home no longer knows. Kept until all the others have given it back too. */
  readonly endedAtHome?: EndedReply | undefined
  /** It could not be asked what it is. */
  readonly isToBeFound?: boolean
  /** Tries at which Redis answered, and could not give it back. */
  readonly answered?: number
}

/** What is carried by nobody, to be given back as soon as Redis answers. Beyond, their lease ends them. */
const MAX_UNANSWERED = 10_000
const MAX_ABANDONED_PER_RETRY = 200

export function createGivingBack<Context>(
  options: GivingBackOptions<Context>,
): GivingBack<Context> {
  const { room, endPart, find, homeOf } = options
  const { buckets, own } = room
  const unanswered = new Map<string, ToGiveBack<Context>>()
  let unansweredBytes = 0
  /** Of what is tried for the first time. */
  let onItsWay = 0

  function forget(name: string): ToGiveBack<Context> | undefined {
    const kept = unanswered.get(name)
    if (kept === undefined) return undefined
    unanswered.delete(name)
    unansweredBytes -= bytesOf(kept)
    return kept
  }

  /** The home first: where it ended otherwise, or not all are known that carry it, all of it stays. */
  async function giveBack(
    carried: ToGiveBack<Context>,
    nowEpochMs: number,
  ): Promise<{ readonly home: EndedReply | NotEnded | undefined; readonly seen: readonly Seen[] }> {
    const { holds, parts, idempotencyKey } = carried
    const seen: Seen[] = []
    const name = nameOf(carried)
    const before = unanswered.get(name)
    const isFirstTry = before === undefined
    if (isFirstTry) onItsWay += 1
    let atHome: EndedReply | undefined
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
      const first = before?.endedAtHome ?? (home && (await giveBackPart(home)))
      if (before?.endedAtHome === undefined && typeof first === 'object') atHome = first
      if (first !== 'kept') {
        const outcomes = await Promise.allSettled(others.map(giveBackPart))
        const failed = outcomes.find((outcome) => outcome.status === 'rejected')
        if (failed !== undefined) throw failed.reason
      }
      // Whoever takes it out tells what the home said: of two tries at once both would.
      const kept = forget(name)
      const endedAtHome = atHome ?? kept?.endedAtHome
      return { home: endedAtHome ?? (typeof first === 'string' ? first : undefined), seen }
    } catch (error) {
      if (error instanceof DependencyError) {
        const endedAtHome = atHome ?? unanswered.get(name)?.endedAtHome
        later({ ...carried, endedAtHome, answered: answeredWith(error, carried.answered) })
      }
      throw error
    } finally {
      if (isFirstTry) onItsWay -= 1
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
    answered: number | undefined,
  ): Promise<Reservation<Context> | undefined> {
    onItsWay += 1
    try {
      return await find(id, nowEpochMs)
    } catch (error) {
      const parts = buckets.partsOf([], buckets.homeOfId(id))
      if (error instanceof DependencyError) {
        const tried = { isToBeFound: true, answered: answeredWith(error, answered) }
        later({ id, carrier, holds: [], parts, ...tried })
      }
      throw error
    } finally {
      onItsWay -= 1
    }
  }

  async function abandon(
    id: string,
    nowEpochMs: number,
    carrier = id,
    known?: Known<Context>,
    answered?: number,
  ): Promise<Ended<Context> | undefined> {
    const reservation =
      known?.reservation ?? (await findToAbandon(id, carrier, nowEpochMs, answered))
    const home = known?.home ?? homeOf(reservation?.id ?? id)
    const holds = reservation?.holds ?? []
    const parts = buckets.partsOf(holds, home)
    // It may be known by the id of another of its answers, which leads to it at home alone.
    const given = {
      ...{ id: reservation?.id ?? id, carrier, holds, parts, reservation },
      ...{ onGone: known?.onGone, answered: answered ?? 0 },
    }
    return endedByGivingBack(given, (await giveBack(given, nowEpochMs)).home)
  }

  /** It is kept under the parts that it is found to have; if that fails again, by itself. */
  function abandonFound(held: ToGiveBack<Context>, nowEpochMs: number) {
    forget(nameOf(held))
    return abandon(held.id, nowEpochMs, held.carrier, undefined, held.answered)
  }

  function later(carried: ToGiveBack<Context>): void {
    // Last in the queue: what fails again must not keep back what would not.
    forget(nameOf(carried))
    const bytes = bytesOf(carried)
    if (unanswered.size >= MAX_UNANSWERED) return
    if (unansweredBytes + bytes > room.remembered.eachBytes) return
    unanswered.set(nameOf(carried), carried)
    unansweredBytes += bytes
  }

  /** Each by itself: what is carried of one part says nothing of another. */
  function partsOf(carried: Carried): readonly Carried[] {
    return carried.parts.map((part) => ({ ...carried, parts: [part] }))
  }

  async function retry(ended: Ended<Context>[], nowEpochMs: number): Promise<void> {
    const failures: unknown[] = []
    const startedMs = room.clock.monotonicMs()
    for (const name of [...unanswered.keys()].slice(0, MAX_ABANDONED_PER_RETRY)) {
      if (room.clock.monotonicMs() - startedMs >= ROUND_MS) break
      const held = unanswered.get(name)
      if (held === undefined) continue
      try {
        const told =
          held.isToBeFound === true
            ? await abandonFound(held, nowEpochMs)
            : endedByGivingBack(held, (await giveBack(held, nowEpochMs)).home)
        if (told !== undefined) ended.push(told)
      } catch (error) {
        failures.push(error)
        // Where a breaker is open nothing is waited for.
        await nextTurn()
      }
    }
    if (failures.length > 0) throw failures[0]
  }

  return {
    abandon: (id, nowEpochMs, carrier, known) => abandon(id, nowEpochMs, carrier, known),

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

    retry,

    toGiveBack() {
      let count = onItsWay
      for (const { answered = 0 } of unanswered.values()) if (answered < MAX_ANSWERED) count += 1
      return count
    },

    async giveBackAtLast() {
      // No moment is given: each node has its own.
      const trying = retry([], 0)
      await inTime(room.clock, trying, room.clock.monotonicMs() + ROUND_MS).catch(() => undefined)
    },

    clear() {
      unanswered.clear()
      unansweredBytes = 0
    },
  }
}

function answeredWith(error: unknown, answered = 0): number {
  return isOfOneCall(error) ? answered + 1 : answered
}

/** What became of one part, or of one that carries it, says nothing of the others. */
function nameOf({ id, carrier, parts }: Carried): string {
  return `${parts.map(({ bucket }) => bucket).join()} ${id} ${carrier}`
}
