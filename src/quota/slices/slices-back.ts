import type { Clock } from '../../clock.js'
import { DependencyError } from '../../errors.js'
import type { Store } from '../../store/store.js'
import { longerShortage, roomIn, shortage } from '../balance.js'
import type { Shortage } from '../balance.js'
import type { Hold, Short } from '../ledger.js'
import type { Buckets, Part } from '../redis/buckets.js'
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
  /**
   * The refusal with the wait as it is then; undefined where by now all of it fits. Where the store does not say in time,
   * as it was.
   */
  shorten(short: Short, holds: readonly Hold[], asked: SlicesAsked): Promise<Short | undefined>
}

export interface SlicesAsked {
  readonly nowEpochMs: number
  readonly dueMs: number
}

export interface SlicesBackOptions {
  readonly store: Store
  readonly buckets: Buckets
  /** Of whose own slices nothing is told: what is short is given back before. */
  readonly owner: string
  readonly clock: Pick<Clock, 'monotonicMs'>
  readonly timeoutMs: number
  readonly moments: 'redis' | 'given'
  readonly isSliced: (hold: Hold) => boolean
  readonly timelineOf: (hold: Hold) => Timeline
  /** The longest that a slice and its way back take: no wait that is shorter is asked about. */
  readonly longestMs: number
  /** The moment at the node that has the bucket, as the process knows it. */
  readonly nowFrom: (nowEpochMs: number, bucket: number) => number
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

/** What one bucket told of its holds, and how long ago. */
interface Look {
  readonly holds: readonly Hold[]
  readonly told: Told
  readonly agoMs: number
}

interface Asking {
  readonly dueMs: number
  readonly told: Promise<Told>
}

/**
 * For so long one answer, or that there was none, does for all refusals in the same partitions: near a limit there are
 * many, and one request may look several times.
 */
const BELIEVED_MS = 1000
const MAX_TOLD = 1000

export function createSlicesBack(options: SlicesBackOptions): SlicesBack {
  const { store, buckets, owner, clock, timeoutMs, moments } = options
  const { isSliced, timelineOf, longestMs, nowFrom } = options
  const { slices: script } = loadRedisScripts()
  const calendars = createCalendarSource()
  const ask = createAsk({ store, clock, calendars, timeoutMs, moments })
  const lately = new Map<string, Told>()
  const underWay = new Map<string, Asking>()
  /** Of buckets that did not answer, until when they are not asked again. */
  const silentUntilMs = new Map<number, number>()

  async function lookInto(
    { bucket, indices }: Part,
    all: readonly Hold[],
    { nowEpochMs, dueMs }: SlicesAsked,
  ): Promise<Look> {
    const tag = buckets.tagOf(bucket)
    const holds = indices.map((index) => all[index] as Hold)
    const keys = holds.flatMap((hold) => [storedPartition(hold, tag), storedSlices(hold, tag)])
    const call = {
      owner,
      holds: holds.map(({ quota }) => ({ limit: quota.limit, window: spell(quota.window) })),
    }
    const name = JSON.stringify([keys, call])
    const nowMs = nowFrom(nowEpochMs, bucket)
    const known = lately.get(name)
    if (known !== undefined && Math.abs(nowMs - known[2]) < BELIEVED_MS) {
      const look = { holds, told: known, agoMs: Math.max(0, nowMs - known[2]) }
      const short = shortBy(look)
      // That there was room is believed of nobody: what refuses is newer.
      if (short !== undefined && (short.retryAfterMs ?? Infinity) > 0) return look
    }
    const windows = holds.map(({ quota }) => quota.window)
    const around = (atMs: number): Calendars => calendars.around(windows, atMs)
    const begin = (): Promise<Told> =>
      ask<SlicedReply>(script, keys, call, nowMs, around, { dueMs })
    try {
      const told = await tellOnce(name, dueMs, begin)
      remember(name, told)
      return { holds, told, agoMs: Math.max(0, nowMs - told[2]) }
    } catch (error) {
      silentUntilMs.set(bucket, clock.monotonicMs() + BELIEVED_MS)
      throw error
    }
  }

  /** Many are refused at once: one asks for all, but for those that cannot wait as long. */
  async function tellOnce(name: string, dueMs: number, begin: () => Promise<Told>): Promise<Told> {
    const other = underWay.get(name)
    if (other !== undefined && other.dueMs <= dueMs) return other.told
    const asking = { dueMs, told: begin() }
    underWay.set(name, asking)
    try {
      return await asking.told
    } finally {
      if (underWay.get(name) === asking) underWay.delete(name)
    }
  }

  function remember(name: string, told: Told): void {
    lately.delete(name)
    lately.set(name, told)
    const [oldest] = lately.keys()
    if (lately.size > MAX_TOLD && oldest !== undefined) lately.delete(oldest)
  }

  /** Undefined: none of it is short by what was told. */
  function shortBy({ holds, told, agoMs }: Look): Shortage | undefined {
    const [, , atMs, replies] = told
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
      longest = longerShortage(longest, sooner(now, then, Number(backMs) - atMs))
    }
    if (longest?.retryAfterMs === undefined) return longest
    return { ...longest, retryAfterMs: longest.retryAfterMs - agoMs }
  }

  return {
    async shorten(short, holds, asked) {
      if (short.retryAfterMs === undefined || short.retryAfterMs <= longestMs) return short
      const [first] = holds
      if (first === undefined || !holds.some(isSliced)) return short
      const isShort = (index: number): boolean => isShortBy(short, holds, index)
      const parts = buckets
        .partsOf(holds, buckets.ofPartition(first.partitionKey))
        .filter(({ indices }) => indices.some(isShort))
      const nowMs = clock.monotonicMs()
      if (parts.some(({ bucket }) => nowMs < (silentUntilMs.get(bucket) ?? 0))) return short
      try {
        const looks = await Promise.all(parts.map((part) => lookInto(part, holds, asked)))
        let longest: Shortage | undefined
        for (const look of looks) {
          const shortage = shortBy(look)
          if (shortage !== undefined) longest = longerShortage(longest, shortage)
        }
        if (longest === undefined) return undefined
        const isInSlices = looks.some(({ told }) =>
          told[3].some(([, , slices]) => slices.length > 0),
        )
        if (longest.retryAfterMs === undefined || !isInSlices) return short
        const retryAfterMs = Math.max(1, longest.retryAfterMs)
        return { ...longest, retryAfterMs, balances: short.balances }
      } catch (error) {
        if (error instanceof DependencyError) return short
        throw error
      }
    },
  }
}

/** Is it one of those that the request is refused for? */
function isShortBy({ balances }: Short, holds: readonly Hold[], index: number): boolean {
  const { quota, partitionKey, amount } = holds[index] as Hold
  const left = balances.find((balance) => balance.partitionKey === partitionKey)?.remaining
  if (quota.shadow || left === undefined) return false
  // What is left is told as nothing where a debt leaves less: then there is no room for 0 either.
  return left === 0 || left < amount + askedBefore(holds, index)
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
