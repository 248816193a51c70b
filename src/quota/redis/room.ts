import type { Clock } from '../../clock.js'
import { UndecidedError } from '../../errors.js'
import type { Store } from '../../store/store.js'
import { balanceOf } from '../balance.js'
import type { Seen } from '../balance.js'
import type { Buckets, Part } from './buckets.js'
import { createLastFigures } from './last-figures.js'
import type { LastFigures } from './last-figures.js'
import type { Balance, Hold } from '../ledger.js'
import { createOwnReservations } from './own-reservations.js'
import type { OwnReservations } from './own-reservations.js'
import { createAsk } from './ask.js'
import type { Ask } from './ask.js'
import { createCalendarSource } from './calendars.js'
import type { CalendarSource, Calendars } from './calendars.js'
import { storedLeases, storedPartition } from './stored-keys.js'
import { createReservationReader, stateFrom } from './replies.js'
import type { Figures, ReservationReader } from './replies.js'
import { loadRedisScripts } from './scripts.js'
import type { RedisScripts } from './scripts.js'
import type { Remembered } from '../remembered.js'
import { requireMoment } from '../request.js'
import type { Timeline } from '../windows/timeline.js'
import { createTimelines } from '../windows/windows.js'

/** What reserving, ending and looking have in common. */
export interface RedisRoom<Context> {
  readonly buckets: Buckets
  readonly scripts: RedisScripts
  readonly ask: Ask
  readonly calendars: CalendarSource
  readonly aroundAll: (atMs: number) => Calendars
  readonly reader: ReservationReader<Context>
  readonly own: OwnReservations<Context>
  readonly last: LastFigures
  readonly timelineOf: (hold: Hold) => Timeline
  readonly clock: Pick<Clock, 'monotonicMs'>
  readonly timeoutMs: number
  /** For how long the node that has a bucket has answered nobody, while it owes an answer. */
  silentMs(bucket: number): number
  /** When what begins now is due, where it is not said. */
  dueMs(): number
  readonly rememberEndedMs: number
  readonly remembered: Remembered
  /** A name for one report, which no other has at any process. */
  nextReport(): string
  /** The moment as this process knows it at the node that has the key; a script goes by Redis's own. */
  nowAt(nowEpochMs: number, key: string): number
  /** The partitions of the holds of one part, in their order. */
  partitionsOf(part: Part, holds: readonly Hold[]): readonly string[]
  /** What an answer says of the holds of one part: by their place among all holds. Remembered for `exhausted`. */
  see(
    into: Seen[],
    part: Part,
    holds: readonly Hold[],
    figures: readonly Figures[],
    atMs: number,
  ): void
}

export interface RedisRoomOptions {
  readonly store: Store
  readonly clock: Pick<Clock, 'monotonicMs'>
  readonly timeoutMs: number
  readonly rememberEndedMs: number
  readonly remembered: Remembered
  readonly moments: 'redis' | 'given'
  readonly buckets: Buckets
  readonly processId: string
}

export function createRedisRoom<Context>(options: RedisRoomOptions): RedisRoom<Context> {
  const { store, clock, timeoutMs, rememberEndedMs, remembered, moments, buckets, processId } =
    options
  const calendars = createCalendarSource()
  const timelines = createTimelines()
  const last = createLastFigures(() => clock.monotonicMs())
  const timelineOf = ({ quota }: Hold): Timeline => timelines(quota.window)
  let latestGivenMs = 0
  let reports = 0

  return {
    buckets,
    scripts: loadRedisScripts(),
    ask: createAsk({ store, clock, calendars, timeoutMs, moments }),
    calendars,
    aroundAll: (atMs) => calendars.aroundAll(atMs),
    reader: createReservationReader<Context>(),
    own: createOwnReservations<Context>(
      rememberEndedMs,
      () => (moments === 'given' ? latestGivenMs : clock.monotonicMs()),
      remembered,
    ),
    last,
    timelineOf,
    clock,
    timeoutMs,
    silentMs: (bucket) => store.silentMs(storedLeases(buckets.tagOf(bucket))),
    dueMs: () => clock.monotonicMs() + timeoutMs,
    rememberEndedMs,
    remembered,
    nextReport: () => `${processId} ${String((reports += 1))}`,
    nowAt(nowEpochMs, key) {
      if (moments === 'redis') return store.nowMs(key) ?? requireMoment(nowEpochMs)
      latestGivenMs = Math.max(latestGivenMs, requireMoment(nowEpochMs))
      return latestGivenMs
    },
    partitionsOf({ bucket, indices }, holds) {
      const tag = buckets.tagOf(bucket)
      return indices.map((index) => storedPartition(holds[index] as Hold, tag))
    },
    see(into, { indices }, holds, figures, atMs) {
      for (const [at, index] of indices.entries()) {
        const hold = holds[index] as Hold
        const timeline = timelineOf(hold)
        const told = figures[at] ?? ''
        last.put(hold, timeline, told, atMs)
        into[index] = { state: stateFrom(told, hold, timeline), atMs }
      }
    },
  }
}

export function balancesOf(holds: readonly Hold[], seen: readonly Seen[]): readonly Balance[] {
  return holds.map((hold, index) => {
    const { state, atMs } = seen[index] as Seen
    return balanceOf(hold, state, atMs)
  })
}

/** A script's answer that its caller has no use for. Redis is there: no quota is asked what it says without it. */
export function unexpected(kind: string): UndecidedError {
  return new UndecidedError('ledger', `the script answered ${kind}`)
}
