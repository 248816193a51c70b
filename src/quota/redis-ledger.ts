import type { Clock } from '../clock.js'
import { DependencyError } from '../errors.js'
import { UnansweredError } from '../store/store.js'
import type { Store } from '../store/store.js'
import { balanceOf, longerShortage, roomIn, shortage } from './balance.js'
import type { Shortage } from './balance.js'
import type { End } from './end.js'
import { createLastFigures } from './last-figures.js'
import type { Balance, Ended, Held, Hold, Ledger, Reservation } from './ledger.js'
import type { ReserveRequest, Short } from './ledger.js'
import { createOwnReservations } from './own-reservations.js'
import type { Quota } from './quota.js'
import { createCalendarSource } from './redis-calendars.js'
import { createAsk } from './redis-ask.js'
import type { Calendars } from './redis-calendars.js'
import { LEASES, storedIdempotencyKey, storedPartition, storedReservation } from './redis-keys.js'
import { createReservationReader, stateFrom } from './redis-replies.js'
import type { Figures, HeldReply, LedgerReply, ShortReply } from './redis-replies.js'
import { loadRedisScripts } from './redis-scripts.js'
import { askedBefore, requireMoment, requireWhole } from './request.js'
import { amountAtEnd, quotaUnitNames } from './units.js'
import type { WindowState } from './window-state.js'
import { createTimelines, spell } from './windows.js'

export interface RedisLedgerOptions {
  readonly store: Store
  readonly clock: Pick<Clock, 'monotonicMs'>
  /** How long a call may take, all in all. Afterwards it has failed, and takes no effect. */
  readonly timeoutMs: number
  /** As of the memory ledger. Default 60 s. */
  readonly rememberEndedMs?: number
  /**
   * Whose moments count: Redis's own, or, in tests alone, those that the caller passes. Deadlines are always in
   * Redis's time.
   */
  readonly moments?: 'redis' | 'given'
}

/** What one `expire` ends: some 1 ms of Redis's time in one piece, and so many pieces. */
const MAX_EXPIRED_PER_CALL = 32
const MAX_EXPIRE_CALLS = 80

/** Reservations whose answer was lost, to be released as soon as Redis answers. Beyond, their lease ends them. */
const MAX_UNANSWERED = 10_000
const MAX_ABANDONED_PER_EXPIRE = 200

/**
 * A ledger on one Redis server, shared by all processes that use it.
 *
 * One script call decides, one ends; `lua/` has them. What `exhausted` answers comes from the last replies, and
 * what `find` answers from this process's own memory where it made the reservation. A call that failed takes no
 * effect later: it carries a deadline in Redis's time, and a reserve whose answer was lost is abandoned.
 *
 * Misuse rejects with a RangeError, as in the memory ledger.
 */
export function createRedisLedger<Context>(options: RedisLedgerOptions): Ledger<Context> {
  const { store, clock, timeoutMs, rememberEndedMs = 60_000, moments = 'redis' } = options
  const scripts = loadRedisScripts()
  const timelineOf = createTimelines()
  const calendars = createCalendarSource()
  const ask = createAsk({ store, clock, calendars, timeoutMs, moments })
  const reader = createReservationReader<Context>()
  const own = createOwnReservations<Context>(rememberEndedMs)
  const last = createLastFigures(() => clock.monotonicMs())
  const unanswered = new Set<string>()
  const aroundAll = (atMs: number): Calendars => calendars.aroundAll(atMs)
  let latestGivenMs = 0

  /** The moment as this process knows it; a script goes by Redis's own. */
  function nowFrom(nowEpochMs: number): number {
    if (moments === 'redis') return store.nowMs() ?? requireMoment(nowEpochMs)
    latestGivenMs = Math.max(latestGivenMs, requireMoment(nowEpochMs))
    return latestGivenMs
  }

  function statesOf(
    holds: readonly Hold[],
    figures: readonly Figures[],
    nowMs: number,
  ): readonly (WindowState | undefined)[] {
    return holds.map((hold, index) => {
      const timeline = timelineOf(hold.quota.window)
      const told = figures[index] ?? ''
      last.put(hold, timeline, told, nowMs)
      return stateFrom(told, hold, timeline)
    })
  }

  function balancesOf(
    holds: readonly Hold[],
    states: readonly (WindowState | undefined)[],
    nowMs: number,
  ): readonly Balance[] {
    return holds.map((hold, index) => balanceOf(hold, states[index], nowMs))
  }

  function heldFrom(request: ReserveRequest<Context>, reply: HeldReply): Held<Context> {
    const [, , nowMs, figures, shadowShort, told] = reply
    let reservation: Reservation<Context>
    if (told === undefined) {
      const { id, context, holds, idempotencyKey, leaseMs } = request
      reservation = { id, context, holds, admittedAtEpochMs: nowMs }
      own.add(reservation, idempotencyKey, leaseMs)
    } else {
      reservation = own.get(told[0]) ?? reader.read(told)
    }
    const { holds } = reservation
    return {
      kind: 'held',
      reservation,
      repeated: told !== undefined,
      balances: balancesOf(holds, statesOf(holds, figures, nowMs), nowMs),
      shadowShort: shadowShort.map((index) => (holds[index - 1] as Hold).quota),
    }
  }

  function shortFrom(holds: readonly Hold[], reply: ShortReply): Short {
    const [, , nowMs, figures] = reply
    const states = statesOf(holds, figures, nowMs)
    let short: Shortage | undefined
    for (const [index, hold] of holds.entries()) {
      const { quota } = hold
      const state = states[index]
      const amount = hold.amount + askedBefore(holds, index)
      if (quota.shadow || amount <= roomIn(state, quota.limit)) continue
      short = longerShortage(short, shortage(quota, state, amount, nowMs))
    }
    if (short === undefined) throw unexpected('short')
    return { ...short, balances: balancesOf(holds, states, nowMs) }
  }

  async function endReservation(
    id: string,
    end: End,
    nowMs: number,
    how: 'by report' | 'abandon',
  ): Promise<Ended<Context> | undefined> {
    const known = own.get(id)
    const actuals = Object.fromEntries(
      quotaUnitNames.flatMap((unit) => {
        // A unit that is left out came to what it held (`lua/end.lua`).
        const amount = amountAtEnd(unit, end)
        return amount === undefined ? [] : [[unit, requireWhole('amount at the end', amount)]]
      }),
    )
    const call = {
      actuals,
      released: end.kind === 'released',
      abandon: how === 'abandon',
      rememberMs: rememberEndedMs,
      tell: known === undefined,
    }
    const keys = [storedReservation(id), LEASES]
    const reply = await ask(scripts.end, keys, call, nowMs, aroundAll)
    if (reply[0] === 'unknown') {
      // Another process ended it, or a repeated Check holds it too: `abandon` leaves that one alone.
      if (how === 'by report') own.remove(id, false)
      return undefined
    }
    if (reply[0] !== 'ended') throw unexpected(reply[0])
    const [, , atMs, late, charges, figures, told] = reply
    const reservation = known ?? (told === null ? undefined : reader.read(told))
    if (reservation === undefined) throw unexpected('ended')
    own.remove(id, end.kind === 'released')
    statesOf(reservation.holds, figures, atMs)
    return {
      reservation,
      outcome: end.kind,
      late: late === 1,
      charges: charges.map(([actual, debt]) => ({ actual: Number(actual), debt: Number(debt) })),
    }
  }

  /** Ends what is due, piece by piece, and answers what of it is now unsettled. */
  async function* runOut(nowMs: number): AsyncGenerator<Ended<Context>> {
    let further: Calendars = {}
    const around = (atMs: number): Calendars => ({ ...aroundAll(atMs), ...further })
    for (let calls = 0; calls < MAX_EXPIRE_CALLS; calls += 1) {
      const call = { atMost: MAX_EXPIRED_PER_CALL }
      const reply = await ask(scripts.expire, [LEASES], call, nowMs, around)
      if (reply[0] !== 'expired') throw unexpected(reply[0])
      const [, , ended, more, missing] = reply
      for (const told of ended) {
        const reservation = own.get(told[0]) ?? reader.read(told)
        own.prolong(told[0], nowMs)
        const charges = reservation.holds.map(({ amount }) => ({ actual: amount, debt: 0 }))
        yield { reservation, outcome: 'unsettled', late: false, charges }
      }
      if (more === 0) return
      if (missing === undefined) continue
      const [, , atMs, name, fromMs] = missing
      further = { ...further, [name]: calendars.since(name, fromMs, atMs) }
    }
  }

  function abandonLater(id: string): void {
    if (unanswered.size < MAX_UNANSWERED) unanswered.add(id)
  }

  async function abandonNow(id: string, nowMs: number): Promise<Ended<Context> | undefined> {
    try {
      const ended = await endReservation(id, { kind: 'released' }, nowMs, 'abandon')
      unanswered.delete(id)
      return ended
    } catch (error) {
      if (error instanceof DependencyError) abandonLater(id)
      throw error
    }
  }

  /** No answer reached this process, so none reaches the caller: what may be held is released. */
  function abandonInBackground(id: string, nowMs: number): void {
    abandonLater(id)
    abandonNow(id, nowMs).catch(() => {
      // It is tried again in `expire`.
    })
  }

  return {
    async exhausted({ holds, idempotencyKey }, nowEpochMs) {
      const now = nowFrom(nowEpochMs)
      if (own.knows(idempotencyKey)) return undefined
      const states: (WindowState | undefined)[] = []
      let short: Shortage | undefined
      for (const hold of holds) {
        const { quota } = hold
        const state = last.look(hold, timelineOf(quota.window), now)
        if (state === 'unknown') return undefined
        states.push(state)
        if (quota.shadow || roomIn(state, quota.limit) > 0) continue
        short = longerShortage(short, shortage(quota, state, 1, now))
      }
      return short && { ...short, balances: balancesOf(holds, states, now) }
    },

    async reserve(request, nowEpochMs) {
      const now = nowFrom(nowEpochMs)
      const { id, idempotencyKey, holds, context, leaseMs } = request
      requireWhole('leaseMs', leaseMs)
      for (const hold of holds) requireWhole('amount', hold.amount)
      const keys = [
        storedReservation(id),
        storedIdempotencyKey(idempotencyKey),
        LEASES,
        ...holds.map(storedPartition),
      ]
      const call = {
        id,
        leaseMs,
        holds: holds.map(({ quota, amount }) => ({
          amount,
          limit: quota.limit,
          window: spell(quota.window),
          unit: quota.unit,
          ...(quota.shadow ? { shadow: true } : {}),
        })),
      }
      const windows = holds.map(({ quota }) => quota.window)
      const texts = [JSON.stringify(context), `[${holds.map(quotaText).join()}]`]
      let reply: LedgerReply
      try {
        const around = (atMs: number): Calendars => calendars.around(windows, atMs)
        reply = await ask(scripts.reserve, keys, call, now, around, texts)
      } catch (error) {
        if (error instanceof UnansweredError) abandonInBackground(id, now)
        throw error
      }
      if (reply[0] === 'held') return heldFrom(request, reply)
      if (reply[0] === 'short') return shortFrom(holds, reply)
      if (reply[0] === 'in_use') throw new RangeError('the reservation id is in use')
      throw unexpected(reply[0])
    },

    async find(id, nowEpochMs) {
      const now = nowFrom(nowEpochMs)
      const known = own.get(id)
      if (known !== undefined) return known
      const reply = await ask(scripts.find, [storedReservation(id)], {}, now, () => ({}))
      if (reply[0] === 'unknown') return undefined
      if (reply[0] !== 'found') throw unexpected(reply[0])
      return reader.read(reply[2])
    },

    async end(id, end, nowEpochMs) {
      return endReservation(id, end, nowFrom(nowEpochMs), 'by report')
    },

    async abandon(id, nowEpochMs) {
      return abandonNow(id, nowFrom(nowEpochMs))
    },

    async expire(nowEpochMs) {
      const now = nowFrom(nowEpochMs)
      for (const id of [...unanswered].slice(0, MAX_ABANDONED_PER_EXPIRE)) await abandonNow(id, now)

      const unsettled: Ended<Context>[] = []
      try {
        for await (const told of runOut(now)) unsettled.push(told)
      } catch (error) {
        // What has ended is told nobody else; what is left fails again the next time.
        if (unsettled.length === 0) throw error
      }
      own.forgetDue(now)
      return unsettled
    },

    async balances(holds, nowEpochMs) {
      const now = nowFrom(nowEpochMs)
      const call = {
        holds: holds.map(({ quota }) => ({ limit: quota.limit, window: spell(quota.window) })),
      }
      const windows = holds.map(({ quota }) => quota.window)
      const keys = holds.map(storedPartition)
      const around = (atMs: number): Calendars => calendars.around(windows, atMs)
      const reply = await ask(scripts.balances, keys, call, now, around)
      if (reply[0] !== 'balances') throw unexpected(reply[0])
      const [, , atMs, figures] = reply
      return balancesOf(holds, statesOf(holds, figures, atMs), atMs)
    },

    size: () => own.size(),

    async close() {
      store.close()
      own.clear()
      last.clear()
      unanswered.clear()
    },
  }
}

function unexpected(kind: string): DependencyError {
  return new DependencyError('ledger', `the script answered ${kind}`)
}

/** A quota is never changed, so it is spelled once. */
const quotaTexts = new WeakMap<Quota, string>()

/** As a reservation is kept with it. */
export function quotaText({ quota }: Hold): string {
  let text = quotaTexts.get(quota)
  if (text === undefined) {
    text = JSON.stringify(quota)
    quotaTexts.set(quota, text)
  }
  return text
}
