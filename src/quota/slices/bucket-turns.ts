import type { Clock } from '../../clock.js'
import { DependencyError } from '../../errors.js'
import { ScriptError } from '../../store/store.js'
import type { Hold } from '../ledger.js'
import type { Ask } from '../redis/ask.js'
import type { Buckets } from '../redis/buckets.js'
import type { Calendars, CalendarSource } from '../redis/calendars.js'
import type { Script } from '../../store/store.js'
import { halve, partIn, sliceFrom, spellTurn } from './slice-turn.js'
import type { Adopted, Pending, Told, Turn, TurnReply } from './slice-turn.js'
import type { Slice, Taking } from './slices.js'
import type { Timeline } from '../windows/timeline.js'

/**
 * What a process tells one bucket of the store of its slices there, in turns: one at a time, each of them once. A turn
 * whose answer was lost is asked again as it was, under its own number, before the next. One that the script gave up on
 * has changed nothing: it is halved until what it gave up on is alone, so that one partition never stops the others.
 */
export interface BucketTurns<Context> {
  adopt(pending: Pending<Context>): void
  /** It was not sent yet, and will not be. */
  withdraw(pending: Pending<Context>): void
  /** Adopts in the next turn what was set aside since it could not be adopted. */
  retry(pending: Pending<Context>): void
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
}

/** So much one turn does: some 1 ms of Redis's time. */
const MAX_ADOPTED = 32
const MAX_HOLDS = 96
const MAX_RETURNED = 16
const MAX_TAKEN = 16

/** What was admitted in the bucket and cannot be adopted: beyond, the oldest is given up. */
const MAX_ASIDE = 256

export function createBucketTurns<Context>(
  options: BucketTurnsOptions<Context>,
): BucketTurns<Context> {
  const { script, ask: askStore, calendars, clock, moments, owner, share, lifeMs } = options
  const { buckets, bucket, nowMs, timelineOf, onAdopted, onTaken, onSetAside, onGivenUp } = options

  // In the order in which they came, by a number that grows.
  const pendings = new Map<Pending<Context>, number>()
  const returns = new Map<Slice, { amount: number; readonly asked: number }>()
  const takings = new Map<Taking, number>()
  let asked = 0
  let turns = 0
  let slices = 0
  /** Asked, and not answered. */
  let open: Turn<Context> | undefined
  /** Of one that the script gave up on. */
  const pieces: Told<Context>[] = []
  const aside = new Set<Pending<Context>>()
  /** The one of them that is tried again: where it is adopted, the next may be. */
  let retried: Pending<Context> | undefined
  let waiters: Waiter[] = []
  let isAsking = false
  let lastTurnMs = 0
  let returnedTimes = 0

  function compose(): Told<Context> | undefined {
    const adopted: Pending<Context>[] = []
    let holds = 0
    for (const pending of pendings.keys()) {
      holds += partIn(pending, bucket).indices.length
      if (adopted.length === MAX_ADOPTED || (holds > MAX_HOLDS && adopted.length > 0)) break
      adopted.push(pending)
    }
    const returned: (readonly [Slice, number])[] = []
    for (const [slice, { amount }] of returns) {
      if (returned.length === MAX_RETURNED) break
      returned.push([slice, amount])
    }
    const taken = [...takings.keys()].slice(0, MAX_TAKEN).map((taking) => {
      return { taking, id: `${owner} ${String((slices += 1))}` }
    })
    if (adopted.length + returned.length + taken.length === 0) return undefined

    for (const pending of adopted) {
      pendings.delete(pending)
      pending.sent = true
    }
    for (const [slice] of returned) returns.delete(slice)
    for (const { taking } of taken) takings.delete(taking)
    return { adopted, returned, taken }
  }

  function nextTurn(): Turn<Context> | undefined {
    const told = pieces.shift() ?? compose()
    return told && { ...told, number: (turns += 1) }
  }

  function retry(pending: Pending<Context>): void {
    if (aside.delete(pending)) pendings.set(pending, (asked += 1))
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
    const sentMs = clock.monotonicMs()
    const reply = await askStore<TurnReply>(script, keys, call, atMs, around, { texts })
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

  function firstReturn(): number {
    for (const { asked: number } of returns.values()) return number
    return Infinity
  }

  function isAnswered({ until, what }: Waiter): boolean {
    const oldest = Math.min(firstOf(takings), firstReturn())
    return until < (what === 'slices' ? oldest : Math.min(oldest, firstOf(pendings)))
  }

  async function askOrDivide(turn: Turn<Context>): Promise<void> {
    const sentMs = clock.monotonicMs()
    try {
      await ask(turn)
      lastTurnMs = clock.monotonicMs() - sentMs
    } catch (error) {
      if (!(error instanceof ScriptError)) throw error
      divide(turn)
    }
  }

  /** Asks as long as somebody waits. */
  async function askOn(): Promise<void> {
    isAsking = true
    try {
      while (waiters.length > 0) {
        open ??= nextTurn()
        if (open !== undefined) await askOrDivide(open)
        if (pieces.length > 0) continue
        const [waiting, answered]: [Waiter[], Waiter[]] = [[], []]
        for (const waiter of waiters) (isAnswered(waiter) ? answered : waiting).push(waiter)
        waiters = waiting
        for (const { resolve } of answered) resolve()
      }
    } catch (error) {
      const failed = waiters
      waiters = []
      for (const { reject } of failed) reject(error)
    } finally {
      isAsking = false
    }
  }

  return {
    adopt(pending) {
      pendings.set(pending, (asked += 1))
    },
    withdraw(pending) {
      pendings.delete(pending)
    },
    retry,
    giveBack(slice, amount) {
      const known = returns.get(slice)
      if (known === undefined) returns.set(slice, { amount, asked: (asked += 1) })
      else known.amount += amount
    },
    take(taking) {
      takings.set(taking, (asked += 1))
    },
    slicesIn() {
      const asks = Math.ceil(Math.max(takings.size / MAX_TAKEN, returns.size / MAX_RETURNED))
      const turnsLeft = (open === undefined ? 0 : 1) + pieces.length + asks
      return { turns: turnsLeft, ms: turnsLeft * lastTurnMs }
    },
    isReturning: () =>
      returns.size + (open?.returned.length ?? 0) > 0 ||
      pieces.some(({ returned }) => returned.length > 0),
    returned: () => returnedTimes,
    retryOldest,
    retryAll() {
      for (const pending of [...aside]) retry(pending)
    },
    flush(what) {
      return new Promise((resolve, reject) => {
        waiters.push({ until: asked, what, resolve, reject })
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

/** The number of the oldest. */
function firstOf(asked: ReadonlyMap<unknown, number>): number {
  for (const number of asked.values()) return number
  return Infinity
}
