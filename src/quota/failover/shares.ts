import type { Census, Said } from './processes.js'
import { SLICED_PART } from '../quota.js'
import type { Quota, Window } from '../quota.js'
import { SUB_WINDOWS } from '../windows/sliding-timeline.js'
import { DAY_MS, HOUR_MS, MINUTE_MS } from '../../units.js'

/**
 * What this process may admit by itself while the store is away: limit / d of each quota (nine tenths of that, where
 * it has slices), where d is what it claims in the store (`lua/processes.lua`). The store grants no claim beside which
 * those of all others, and what was used by larger ones, would be more than one limit, and forgets none whose process
 * does not say that it has given it up. So all shares of a quota together are at most its limit, over any number of
 * outages that its window sees (invariant 3).
 */
export interface Shares {
  /** What the next census is told of this process. */
  said(nowEpochMs: number): Said
  /** What the store answered to what was said last. */
  learn(census: Census, nowEpochMs: number): void
  /** From now on it has none. */
  leave(): void
  /**
   * The quota with this process's share as its limit; undefined: it has none.
   *
   * @param leaseMs for how long a request may hold what no window frees
   */
  of(quota: Quota, leaseMs: number, nowEpochMs: number): Quota | undefined
  /**
   * A request has come, of whatever quota. A policy that is read anew may shorten the lease, and what this process or
   * another admitted before is held all the same: for as long it stays with the longer one.
   */
  saw(leaseMs: number, nowEpochMs: number): void
  /** Something may be admitted by a share. */
  used(nowEpochMs: number): void
  /** As seen last; 0 as long as this process has no share. */
  readonly processes: () => number
}

/** Of windows, by how long what they count may matter: a year has a leap day, an hour may be set back, clocks differ. */
const HORIZONS_MS = [
  2 * MINUTE_MS,
  3 * HOUR_MS,
  2 * DAY_MS,
  8 * DAY_MS,
  33 * DAY_MS,
  371 * DAY_MS,
] as const

const CALENDAR_MS = {
  minute: MINUTE_MS,
  hour: 2 * HOUR_MS,
  day: DAY_MS + 2 * HOUR_MS,
  week: 7 * DAY_MS + 2 * HOUR_MS,
  month: 31 * DAY_MS + 2 * HOUR_MS,
  year: 366 * DAY_MS + 2 * HOUR_MS,
}
/** A sliding window counts a sub-window longer than it is. */
const CELLS = 1 + 1 / SUB_WINDOWS

const NOTHING: readonly number[] = HORIZONS_MS.map(() => 0)

/** What the store knew. */
interface Table {
  readonly bornMs: number
  readonly entries: string
  readonly atMs: number
  readonly atEpochMs: number
}

/** Another process may read a shorter lease later than this one, by as long as the lease was. */
const LEASES_HELD = 2

export function createShares(atLeast: number): Shares {
  /** A quota is never changed, and a claim seldom. */
  const derived = new WeakMap<Quota, Quota>()
  let claims = NOTHING
  let used: { readonly atEpochMs: number; readonly divisors: readonly number[] } | undefined
  let last: Census | undefined
  let table: Table | undefined
  /** Of a store that lost its memory, which is to be told of it. */
  let lost: Table | undefined
  let isLeaving = false
  /** Of leases, by their horizon: until when something may be held that was admitted under one. */
  const heldUntilEpochMs = HORIZONS_MS.map(() => -Infinity)

  function horizonOf({ window }: Quota, leaseMs: number, nowEpochMs: number): number {
    const horizon = horizonBeyond(mattersForMs(window, leaseMs))
    if (window.kind !== 'open' || horizon === -1) return horizon
    const held = heldUntilEpochMs.findLastIndex((untilMs) => nowEpochMs < untilMs)
    return Math.max(horizon, held)
  }

  return {
    said(nowEpochMs) {
      return {
        horizonsMs: HORIZONS_MS,
        atLeast,
        claims,
        used: used && {
          agoMs: Math.max(0, Math.round(nowEpochMs - used.atEpochMs)),
          divisors: used.divisors,
        },
        bornMs: (lost ?? table)?.bornMs ?? 0,
        version: last?.version ?? 0,
        // One that leaves has no moment to tell it by.
        known:
          lost === undefined || isLeaving
            ? undefined
            : {
                atMs: lost.atMs + Math.round(nowEpochMs - lost.atEpochMs),
                entries: lost.entries,
              },
        leaving: isLeaving,
      }
    },

    learn(census, nowEpochMs) {
      const { atMs, bornMs } = census
      // What was lost before has been told with what was said.
      lost = table !== undefined && table.bornMs !== bornMs ? table : undefined
      // What is the same is not told again.
      const entries = census.table ?? table?.entries
      if (entries !== undefined) table = { bornMs, entries, atMs, atEpochMs: nowEpochMs }
      if (!isLeaving) claims = census.claims
      last = census
    },

    leave() {
      isLeaving = true
      claims = NOTHING
    },

    of(quota, leaseMs, nowEpochMs) {
      const divisor = claims[horizonOf(quota, leaseMs, nowEpochMs)] ?? 0
      const limit = divisor === 0 ? 0 : Math.floor(shared(quota) / divisor)
      if (limit === 0) return undefined
      let share = derived.get(quota)
      if (share?.limit !== limit) {
        share = { ...quota, limit }
        derived.set(quota, share)
      }
      return share
    },

    saw(leaseMs, nowEpochMs) {
      const horizon = horizonBeyond(leaseMs)
      const before = heldUntilEpochMs[horizon]
      if (before === undefined) return
      heldUntilEpochMs[horizon] = Math.max(before, nowEpochMs + LEASES_HELD * leaseMs)
    },

    used(nowEpochMs) {
      const divisors = claims.map((claim, horizon) => {
        const before = used?.divisors[horizon] ?? 0
        const isOver = nowEpochMs - (used?.atEpochMs ?? 0) > (HORIZONS_MS[horizon] ?? Infinity)
        return isOver ? claim : largerClaim(claim, before)
      })
      used = { atEpochMs: nowEpochMs, divisors }
    },

    processes: () => (claims.some((claim) => claim > 0) ? (last?.processes ?? 0) : 0),
  }
}

/** The first that is as long; -1: none is. */
function horizonBeyond(mattersMs: number): number {
  return HORIZONS_MS.findIndex((ms) => ms >= mattersMs)
}

function largerClaim(one: number, other: number): number {
  return one === 0 || other === 0 ? Math.max(one, other) : Math.min(one, other)
}

/**
 * What all shares together may come to. Slices admit for as long as they last after the store has gone, beside the
 * shares, which know nothing of them, so they have their part of the limit.
 */
function shared({ limit, slices }: Quota): number {
  return slices === true ? limit - Math.floor(limit / SLICED_PART) : limit
}

function mattersForMs(window: Window, leaseMs: number): number {
  switch (window.kind) {
    case 'open':
      return leaseMs
    case 'sliding':
      return window.lengthMs * CELLS
    case 'fixed':
      return window.lengthMs
    case 'calendar':
      return CALENDAR_MS[window.period]
  }
}
