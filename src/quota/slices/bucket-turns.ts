import type { Clock } from '../../clock.js'
import { DependencyError } from '../../errors.js'
import { OutOfMemoryError, ScriptError, UnansweredError } from '../../store/store.js'
import type { Hold } from '../ledger.js'
import type { Ask } from '../redis/ask.js'
import type { Buckets } from '../redis/buckets.js'
import type { Calendars, CalendarSource } from '../redis/calendars.js'
import type { Script } from '../../store/store.js'
import { halve, sliceFrom, spellTurn } from './slice-turn.js'
import type { Adopted, Pending, Told, Turn, TurnReply } from './slice-turn.js'
import type { Slice, Taking } from './slices.js'
import { createToTell } from './to-tell.js'
import type { Timeline } from '../windows/timeline.js'

/**
 * What a process tells one bucket of the store of its slices there, in turns: one at a time, each of them once. A turn
 * whose answer was lost is asked again as it was, under its own number, before the next. One that the script gave up on
 * has changed nothing: it is halved until what it gave up on is alone, so that one partition never stops the others.
 * Of one that a full Redis refused nothing is taken; the rest is told by a script that is run all the same, since what was
 * decided has passed, and its report ends it. That is what slices admitted that were there before.
 */
export interface BucketTurns<Context> {
  adopt(pending: Pending<Context>): void
  /** It was not sent yet, and will not be. */
  withdraw(pending: Pending<Context>): void
  /** Adopts in the next turn what was set aside since it could not be adopted. */
  retry(pending: Pending<Context>): void
  /** It is not told at home for a while: it is aside, or away from home the last turn failed, or has no answer yet. */
  isLate(pending: Pending<Context>): boolean
  giveBack(slice: Slice, amount: number): void
  take(taking: Taking): void
  /**
   * How long `flush('slices')` takes, if its turns take as long as the last that was answered. `turns`: those that it
   * waits for, with the one that is under way.
   */
  slicesIn(): { readonly turns: number; readonly ms: number }
  /** Something was given back that the store does not know yet. */
  isReturning(): boolean
  /** How many turns the store has answered by which something came back. */
  returned(): number
  /** Of what was set aside the oldest is adopted in the next turn, and where that succeeds, the next. */
  retryOldest(): void
  /** All of what was set aside is. */
  retryAll(): void
  /**
   * Over when the store has answered everything that was asked of it before, or all but what waits for its adoption:
   * slices are not to wait behind that.
   *
   * @throws DependencyError it did not; what was asked stays to be asked
   */
  flush(what: 'all' | 'slices'): Promise<void>
}

export interface BucketTurnsOptions<Context> extends TurnsOptions<Context> {
  readonly bucket: number
  readonly script: Script
  readonly scriptWhenFull: Script
  readonly ask: Ask
  readonly calendars: CalendarSource
  /** The moment there as the process knows it. */
  readonly nowMs: () => number
}

/** What the turns of all buckets have in common. */
export interface TurnsOptions<Context> {
  readonly buckets: Buckets
  readonly clock: Pick<Clock, 'monotonicMs'>
  readonly moments: 'redis' | 'given'
  /** Names this process: no two have the same. */
  readonly owner: string
  /** Slices are at most this part of what is free: one of them, and all of a partition together. */
  readonly share: { readonly one: number; readonly all: number }
  readonly lifeMs: number
  readonly timelineOf: (hold: Hold) => Timeline
  readonly onAdopted: (pending: Pending<Context>, bucket: number, adopted: Adopted) => void
  readonly onTaken: (taking: Taking, slice: Slice | undefined) => void
  /** The script gives up on it. It is set aside. */
  readonly onSetAside: (pending: Pending<Context>, bucket: number) => void
  /** Too many are aside: it will not be adopted, and its place stays spent. */
  readonly onGivenUp: (pending: Pending<Context>, bucket: number) => void
  /** Something is late that was not, or still; or may be, of a turn that has no answer. */
  readonly onLate: () => void
}

/** What was admitted in the bucket and cannot be adopted: beyond, the oldest is given up. */
const MAX_ASIDE = 256

/** A turn is late that has had no answer for so long: well before a report is given up that looks for what it tells. */
const LATE_MS = 500
/** While it has none it is looked so often for what is late: upkeep waits for it too. A timer may be a moment early. */
const LOOKS_EACH_MS = LATE_MS + 10

export function createBucketTurns<Context>(
  options: BucketTurnsOptions<Context>,
): BucketTurns<Context> {
  const { script, scriptWhenFull, calendars, clock, moments, owner, share, lifeMs } = options
  const { ask: askStore, buckets, bucket, nowMs, timelineOf, onAdopted, onTaken } = options
  const { onSetAside, onGivenUp, onLate } = options

  const toTell = createToTell<Context>(owner, bucket)
  let turns = 0
  /** Asked, and not answered. */
  let open: Turn<Context> | undefined
  /** Of the one that is open. */
  let firstAskedMs = 0
  /** It was asked for, and nobody knows what came of it. */
  let mayHaveRun = false
  let hasFailed = false
  /** Of one that the script gave up on. */
  const pieces: Told<Context>[] = []
  const aside = new Set<Pending<Context>>()
  /** The one of them that is tried again: where it is adopted, the next may be. */
  let retried: Pending<Context> | undefined
  let waiters: Waiter[] = []
  let isAsking = false
  let lastTurnMs = 0
  let returnedTimes = 0

  function nextTurn(): Turn<Context> | undefined {
    const told = pieces.shift() ?? toTell.next()
    firstAskedMs = clock.monotonicMs()
    mayHaveRun = false
    return told && { ...told, number: (turns += 1) }
  }

  function retry(pending: Pending<Context>): void {
    if (aside.delete(pending)) toTell.adopt(pending)
  }

  function retryOldest(): void {
    retried = undefined
    for (const pending of aside) {
      retried = pending
      retry(pending)
      return
    }
  }

  function setAside(pending: Pending<Context>): void {
    aside.add(pending)
    onSetAside(pending, bucket)
    onLate()
    const [oldest] = aside
    if (aside.size <= MAX_ASIDE || oldest === undefined) return
    aside.delete(oldest)
    onGivenUp(oldest, bucket)
  }

  /** The script gave up on the turn, and will as long as what it found stays. */
  function divide(turn: Turn<Context>): void {
    open = undefined
    const halves = halve(turn)
    if (halves !== undefined) {
      pieces.unshift(...halves)
      return
    }
    // What is not returned stays reserved until its cell has left.
    for (const pending of turn.adopted) setAside(pending)
    for (const { taking } of turn.taken) onTaken(taking, undefined)
  }

  /** Redis is full, and refused the turn. One that it may have had before is asked again as it was. */
  function tellWhenFull(turn: Turn<Context>): void {
    const { adopted, returned, taken } = turn
    if (mayHaveRun) {
      open = { ...turn, whenFull: true }
      return
    }
    const isLeft = adopted.length + returned.length > 0
    open = isLeft ? { ...turn, taken: [], whenFull: true } : undefined
    for (const { taking } of taken) onTaken(taking, undefined)
  }

  async function ask(turn: Turn<Context>): Promise<void> {
    const { keys, call, texts, windows } = spellTurn(owner, buckets, bucket, turn, {
      share,
      lifeMs,
    })
    const atMs = nowMs()
    const around = (at: number): Calendars => ({
      ...calendars.aroundAll(at),
      ...calendars.around(windows, at),
    })
    const asked = turn.whenFull === true ? scriptWhenFull : script
    const sentMs = clock.monotonicMs()
    const reply = await askStore<TurnReply>(asked, keys, call, atMs, around, { texts })
    if (reply[0] === 'outdated') throw new DependencyError('ledger', 'a later turn was answered')
    settle(turn, reply, moments === 'given' ? atMs : sentMs)
  }

  /** @param sentTick a moment before the answer was made, on the scale of slices */
  function settle(
    turn: Turn<Context>,
    [, redisMs, adopted, taken]: Extract<TurnReply, { 0: 'turned' }>,
    sentTick: number,
  ): void {
    open = undefined
    if (turn.returned.length > 0) returnedTimes += 1
    for (const [index, pending] of turn.adopted.entries()) {
      onAdopted(pending, bucket, adopted[index] ?? 'adopted')
      if (pending === retried) retryOldest()
    }
    for (const [index, { taking, id }] of turn.taken.entries()) {
      const timeline = timelineOf(taking.hold)
      const asked = { id, sentTick, lifeMs, moments, timeline }
      onTaken(taking, sliceFrom(taking, taken[index], redisMs, asked))
    }
  }

  function isAnswered({ until, what }: Waiter): boolean {
    return until < toTell.oldest(what)
  }

  async function askOrDivide(turn: Turn<Context>): Promise<void> {
    const sentMs = clock.monotonicMs()
    const looking = setInterval(onLate, LOOKS_EACH_MS).unref()
    try {
      await ask(turn)
      lastTurnMs = clock.monotonicMs() - sentMs
      hasFailed = false
    } catch (error) {
      const isFull = error instanceof OutOfMemoryError && turn.whenFull === undefined
      hasFailed = !isFull && !(error instanceof ScriptError)
      if (error instanceof UnansweredError) mayHaveRun = true
      if (hasFailed) throw error
      if (isFull) tellWhenFull(turn)
      else divide(turn)
    } finally {
      clearInterval(looking)
    }
  }

  /** Asks as long as somebody waits. */
  async function askOn(): Promise<void> {
    isAsking = true
    try {
      while (waiters.length > 0) {
        open ??= nextTurn()
        if (open !== undefined) await askOrDivide(open)
        if (open !== undefined || pieces.length > 0) continue
        const [waiting, answered]: [Waiter[], Waiter[]] = [[], []]
        for (const waiter of waiters) (isAnswered(waiter) ? answered : waiting).push(waiter)
        waiters = waiting
        for (const { resolve } of answered) resolve()
      }
    } catch (error) {
      const failed = waiters
      waiters = []
      onLate()
      for (const { reject } of failed) reject(error)
    } finally {
      isAsking = false
    }
  }

  return {
    adopt(pending) {
      toTell.adopt(pending)
    },
    withdraw(pending) {
      toTell.withdraw(pending)
    },
    retry,
    isLate(pending) {
      if (aside.has(pending)) return true
      // A home that does not answer is away for its report, too.
      if (pending.parts[0].bucket === bucket) return false
      return hasFailed || (open !== undefined && clock.monotonicMs() - firstAskedMs >= LATE_MS)
    },
    giveBack(slice, amount) {
      toTell.giveBack(slice, amount)
    },
    take(taking) {
      toTell.take(taking)
    },
    slicesIn() {
      const turnsLeft = (open === undefined ? 0 : 1) + pieces.length + toTell.turnsOfSlices()
      return { turns: turnsLeft, ms: turnsLeft * lastTurnMs }
    },
    isReturning: () =>
      toTell.isReturning() ||
      (open?.returned.length ?? 0) > 0 ||
      pieces.some(({ returned }) => returned.length > 0),
    returned: () => returnedTimes,
    retryOldest,
    retryAll() {
      for (const pending of [...aside]) retry(pending)
    },
    flush(what) {
      return new Promise((resolve, reject) => {
        waiters.push({ until: toTell.last(), what, resolve, reject })
        if (!isAsking) void askOn()
      })
    },
  }
}

/** Who waits until everything up to a number is answered. */
interface Waiter {
  readonly until: number
  readonly what: 'all' | 'slices'
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
}
