import type { Clock } from '../../clock.js'
import { DependencyError } from '../../errors.js'
import type { Store } from '../../store/store.js'
import { longerShortage, roomIn, shortage } from '../balance.js'
import type { Shortage } from '../balance.js'
import type { Hold, Short } from '../ledger.js'
import { createAsk } from '../redis/ask.js'
import { createCalendarSource } from '../redis/calendars.js'
import type { Calendars } from '../redis/calendars.js'
import { storedPartition, storedSlices } from '../redis/stored-keys.js'
import { stateFrom } from '../redis/replies.js'
import type { Figures, UncoveredReply } from '../redis/replies.js'
import { loadRedisScripts } from '../redis/scripts.js'
import { askedBefore } from '../request.js'
import type { Timeline } from '../windows/timeline.js'
import { CELL_FIELDS } from '../windows/window-state.js'
import type { WindowState } from '../windows/window-state.js'
import { spell } from '../windows/windows.js'

/**
 * How long a request that is short has to wait where processes have slices: what is in these counts as reserved, but
 * comes back when they are over, long before the window has passed.
 */
export interface SlicesBack {
  /** The refusal with the wait as it is then. Where the store does not say in time, as it was. */
  shorten(short: Short, holds: readonly Hold[], asked: SlicesAsked): Promise<Short>
}

export interface SlicesAsked {
  /** As the process knows it. */
  readonly nowMs: number
  readonly dueMs: number
}

export interface SlicesBackOptions {
  readonly store: Store
  /** Of whose own slices nothing is told: what is short is given back before. */
  readonly owner: string
  readonly clock: Pick<Clock, 'monotonicMs'>
  readonly timeoutMs: number
  readonly moments: 'redis' | 'given'
  readonly isSliced: (hold: Hold) => boolean
  readonly timelineOf: (hold: Hold) => Timeline
  /** The longest that a slice and its way back take: no wait that is shorter is asked about. */
  readonly longestMs: number
}

type SlicedReply =
  | readonly [
      kind: 'sliced',
      redisMs: number,
      nowMs: number,
      holds: readonly (readonly [figures: Figures, backMs: string, slices: readonly string[]])[],
    ]
  | UncoveredReply

type Told = Extract<SlicedReply, { 0: 'sliced' }>

/** For so long one answer does for all refusals in the same partitions: near a limit there are many. */
const BELIEVED_MS = 1000
const MAX_TOLD = 1000

export function createSlicesBack(options: SlicesBackOptions): SlicesBack {
  const { store, owner, clock, timeoutMs, moments, isSliced, timelineOf, longestMs } = options
  const { slices: script } = loadRedisScripts()
  const calendars = createCalendarSource()
  const ask = createAsk({ store, clock, calendars, timeoutMs, moments })
  const lately = new Map<string, Told>()

  async function askFor(
    holds: readonly Hold[],
    { nowMs, dueMs }: SlicesAsked,
    isOutdated: (told: Told) => boolean,
  ): Promise<Told> {
    const windows = holds.map(({ quota }) => quota.window)
    const keys = holds.flatMap((hold) => [storedPartition(hold), storedSlices(hold)])
    const call = {
      owner,
      holds: holds.map(({ quota }) => ({ limit: quota.limit, window: spell(quota.window) })),
    }
    const name = JSON.stringify([keys, call])
    const known = lately.get(name)
    if (known !== undefined && Math.abs(nowMs - known[2]) < BELIEVED_MS && !isOutdated(known)) {
      return known
    }
    const around = (atMs: number): Calendars => calendars.around(windows, atMs)
    const told = await ask<SlicedReply>(script, keys, call, nowMs, around, { dueMs })
    lately.delete(name)
    lately.set(name, told)
    const [oldest] = lately.keys()
    if (lately.size > MAX_TOLD && oldest !== undefined) lately.delete(oldest)
    return told
  }

  /** Undefined: it is not short by what was told. */
  function shortBy([, , atMs, replies]: Told, holds: readonly Hold[]): Shortage | undefined {
    let longest: Shortage | undefined
    for (const [index, hold] of holds.entries()) {
      const { quota } = hold
      const [figures = '', backMs = '', slices = []] = replies[index] ?? []
      const state = stateFrom(figures, hold, timelineOf(hold))
      const amount = hold.amount + askedBefore(holds, index)
      if (quota.shadow || amount <= roomIn(state, quota.limit)) continue
      const now = shortage(quota, state, amount, atMs)
      const back = state && slices.length > 0 ? without(state, slices.map(Number)) : state
      const then = shortage(quota, back, amount, atMs)
      const backInMs = Number(backMs) - atMs
      longest = longerShortage(longest, sooner(now, then, backInMs))
    }
    return longest
  }

  return {
    async shorten(short, holds, asked) {
      if (short.retryAfterMs === undefined || short.retryAfterMs <= longestMs) return short
      if (!holds.some(isSliced)) return short
      try {
        const isOutdated = (told: Told): boolean => {
          const shortage = shortBy(told, holds)
          return shortage === undefined || (shortage.retryAfterMs ?? Infinity) <= agoOf(told)
        }
        const agoOf = ([, , atMs]: Told): number => Math.max(0, asked.nowMs - atMs)
        const told = await askFor(holds, asked, isOutdated)
        const shortage = shortBy(told, holds)
        if (
          shortage?.retryAfterMs === undefined ||
          !told[3].some(([, , slices]) => slices.length > 0)
        )
          return short
        const retryAfterMs = Math.max(1, shortage.retryAfterMs - agoOf(told))
        return { ...shortage, retryAfterMs, balances: short.balances }
      } catch (error) {
        if (error instanceof DependencyError) return short
        throw error
      }
    },
  }
}

/** The shortage as it is, or as it is when the slices are back, which is no sooner than in `backInMs`. */
function sooner(now: Shortage, then: Shortage, backInMs: number): Shortage {
  const nowMs = now.retryAfterMs ?? Infinity
  const thenMs = Math.max(then.retryAfterMs ?? Infinity, backInMs)
  return thenMs < nowMs ? { ...now, retryAfterMs: thenMs } : now
}

/** The state without what is in slices. @param slices flat: cell, amount, cell, ... */
function without(state: WindowState, slices: readonly number[]): WindowState {
  const cells = [...state.cells]
  let { reserved } = state
  for (let at = 0; at < slices.length; at += 2) {
    const [cell, amount] = [slices[at] as number, slices[at + 1] as number]
    for (let index = 0; index < cells.length; index += CELL_FIELDS) {
      if (cells[index] !== cell) continue
      cells[index + 2] = (cells[index + 2] as number) - amount
      reserved -= amount
    }
  }
  return { ...state, cells, reserved }
}
