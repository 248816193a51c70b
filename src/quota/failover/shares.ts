import { SEEN_MS } from './processes.js'
import type { Census, Said } from './processes.js'
import type { Quota } from '../quota.js'
import { createTimelines } from '../windows/windows.js'

/**
 * What this process may admit by itself while the store is away: limit / processes of each quota. All shares of a
 * quota together are at most its limit, over any number of outages that its window sees (invariant 3), since
 * - a share is of the largest number of processes that was seen within the window, and at least of `atLeast`;
 * - a process has one only when all that were seen have received word of it, and all that are there have had the time
 *   to be seen again by a store that lost its memory;
 * - one that comes when others have used theirs has none until the windows have passed in which they did; so has one
 *   that comes back, where some of them counted it no more when they did. That holds whenever word of it comes.
 */
export interface Shares {
  /** What the next census is told of this process. */
  said(nowEpochMs: number): Said
  /** What the store said of its processes just now. */
  learn(census: Census, nowEpochMs: number): void
  /**
   * The quota with this process's share as its limit; undefined: it has none.
   *
   * @param leaseMs for how long a request may hold what no window frees
   */
  of(quota: Quota, leaseMs: number, nowEpochMs: number): Quota | undefined
  /** Something was admitted by a share. */
  used(nowEpochMs: number): void
  /** As seen last; 0 as long as this process has no share. */
  readonly processes: () => number
}

/** A process that lost its connection is back within a pause and a connect, some 3 s, and asks each second. */
const SETTLING_MS = 10_000

const MAX_PEAKS = 64

export function createShares(atLeast: number): Shares {
  const timelineOf = createTimelines()
  /** Numbers of processes that nothing larger followed, the largest and oldest first, and when each was last seen. */
  const peaks: { processes: number; atEpochMs: number }[] = []
  /** A quota is never changed, and the number of processes seldom. */
  const derived = new WeakMap<Quota, Quota>()
  let last: Census | undefined
  let joinedMs = 0
  /** Until then, of the store's moments, whoever used a share had counted this process; it has one itself where that holds. */
  let countedUntilMs = -Infinity
  /** Who counted after the one and up to the other, did so without this process. */
  let uncountedMs = { after: -Infinity, upTo: 0 }
  /** When others last used their shares and may not have counted it. */
  let usedBeforeEpochMs: number | undefined
  /** What this process admitted by its share: when, and by a count of which moment of the store's. */
  let local: { readonly atEpochMs: number; readonly countedMs: number } | undefined
  let countedMs = 0

  function remember(processes: number, nowEpochMs: number): void {
    while ((peaks.at(-1)?.processes ?? Infinity) <= processes) peaks.pop()
    // Of the two oldest the larger number, for as long as the smaller would have counted.
    const [first, second] = peaks
    if (peaks.length >= MAX_PEAKS && first !== undefined && second !== undefined) {
      peaks.splice(0, 2, { processes: first.processes, atEpochMs: second.atEpochMs })
    }
    peaks.push({ processes, atEpochMs: nowEpochMs })
  }

  /** The number of processes that the share is one of. */
  function divisor(counts: (atEpochMs: number) => boolean): number {
    const largest = peaks.find(({ atEpochMs }) => counts(atEpochMs)) ?? peaks.at(-1)
    return Math.max(atLeast, largest?.processes ?? 1)
  }

  return {
    said: (nowEpochMs) => ({
      toldMs: last?.atMs,
      local: local && { agoMs: nowEpochMs - local.atEpochMs, countedMs: local.countedMs },
    }),

    learn(census, nowEpochMs) {
      const { atMs, lastLocal } = census
      // By the store's moments, since that is how it forgets: a process that was stopped reads an old answer late.
      const forgottenMs = last === undefined ? -Infinity : last.atMs + SEEN_MS
      if (census.joined) {
        joinedMs = atMs
        // The others may count it no more. A store that lost its memory is another matter: they still do.
        if (atMs > forgottenMs) {
          countedUntilMs = Math.min(countedUntilMs, forgottenMs)
          uncountedMs = { after: countedUntilMs, upTo: atMs }
        }
      }
      // In the same millisecond as it came, another may have been answered before.
      const told = census.allToldMs > joinedMs && atMs - joinedMs >= SETTLING_MS
      if (told) {
        countedMs = atMs
        // Told already, it still learns of a use by an older count: whoever was cut off then tells it when it is back.
        const upToMs = countedUntilMs === Infinity ? uncountedMs.upTo : Infinity
        const { after } = uncountedMs
        if (
          lastLocal !== undefined &&
          lastLocal.countedMs > after &&
          lastLocal.countedMs <= upToMs
        ) {
          const usedEpochMs = nowEpochMs - (atMs - lastLocal.atMs)
          usedBeforeEpochMs = Math.max(usedBeforeEpochMs ?? usedEpochMs, usedEpochMs)
        }
        countedUntilMs = Infinity
      }
      // Before that, some may not have come back yet.
      const known = peaks.at(-1)?.processes ?? 0
      remember(told ? census.processes : Math.max(known, census.processes), nowEpochMs)
      last = census
    },

    of(quota, leaseMs, nowEpochMs) {
      if (countedUntilMs !== Infinity) return undefined
      const timeline = timelineOf(quota.window)
      const counts = (atEpochMs: number): boolean =>
        timeline.kind === 'open'
          ? atEpochMs + leaseMs >= nowEpochMs
          : timeline.cellAt(atEpochMs) >= timeline.oldestCellAt(nowEpochMs)
      if (usedBeforeEpochMs !== undefined && counts(usedBeforeEpochMs)) return undefined
      const limit = Math.floor(quota.limit / divisor(counts))
      if (limit === 0) return undefined
      let share = derived.get(quota)
      if (share?.limit !== limit) {
        share = { ...quota, limit }
        derived.set(quota, share)
      }
      return share
    },

    used(nowEpochMs) {
      local = { atEpochMs: nowEpochMs, countedMs }
    },

    processes: () => (countedUntilMs === Infinity ? (last?.processes ?? 0) : 0),
  }
}
