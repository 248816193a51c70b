import type { Clock } from '../clock.js'
import { DependencyError, UndecidedError } from '../errors.js'
import type { Script, Store } from '../store/store.js'
import type { Calendars, CalendarSource } from './redis-calendars.js'
import type { LedgerReply, UncoveredReply } from './redis-replies.js'

export interface AskOptions {
  readonly store: Store
  readonly clock: Pick<Clock, 'monotonicMs'>
  readonly calendars: CalendarSource
  /** How long a call may take, all in all, where it is not said when it is due. */
  readonly timeoutMs: number
  /** As of `RedisLedgerOptions`. */
  readonly moments: 'redis' | 'given'
}

export interface AskMore {
  /** What the script takes as it is. */
  readonly texts?: readonly string[]
  /** When the answer must be there: of an operation that asks more than once, one for all that it asks. */
  readonly dueMs?: number
}

/**
 * Runs a script with the calendars that it needs; asks again, within the same time, as long as it needs others.
 *
 * @param call what the script takes as JSON; the deadline, the calendars and a given moment are added
 * @throws DependencyError also where no time is left: then nothing was sent
 * @throws UndecidedError the calendars that it was brought did not suffice
 */
export type Ask = <Reply extends readonly unknown[] = LedgerReply>(
  script: Script,
  keys: readonly string[],
  call: object,
  nowMs: number,
  calendarsAt: (atEpochMs: number) => Calendars,
  more?: AskMore,
) => Promise<Exclude<Reply, UncoveredReply>>

/** Each asking again brings the calendar of one more window; those of a request, or of a turn, are fewer. */
const MAX_ASKED = 64

export function createAsk({ store, clock, calendars, timeoutMs, moments }: AskOptions): Ask {
  return async <Reply extends readonly unknown[]>(
    script: Script,
    keys: readonly string[],
    call: object,
    nowMs: number,
    calendarsAt: (atEpochMs: number) => Calendars,
    { texts = [], dueMs = clock.monotonicMs() + timeoutMs }: AskMore = {},
  ) => {
    const given = moments === 'given' ? { momentMs: nowMs } : {}
    const missing = createMissing(calendars, nowMs)
    for (let asked = 0; asked < MAX_ASKED; asked += 1) {
      if (clock.monotonicMs() >= dueMs)
        throw new DependencyError('ledger', 'no time is left for Redis')
      const windows = missing.addTo(calendarsAt(nowMs))
      const argsUntil = (untilMs: number) => [
        JSON.stringify({ ...call, ...given, untilMs, calendars: windows }),
        ...texts,
      ]
      // The store knows no script: what each answers is told by `lua/` alone, and held by the contract of the ledger.
      const reply = (await store.run(script, keys, argsUntil, dueMs)) as unknown
      if (!isUncovered(reply)) return reply as Exclude<Reply, UncoveredReply>
      missing.learn(reply)
    }
    throw new UndecidedError('ledger', 'the script answered uncovered')
  }
}

function isUncovered(reply: unknown): reply is UncoveredReply {
  return (reply as readonly unknown[])[0] === 'uncovered'
}

/**
 * What calendars did not reach. Once Redis's moment is known to be another, all of them reach from the one to the
 * other, and each as far back as any partition remembers its window: several may be of one window.
 */
function createMissing(calendars: CalendarSource, nowMs: number) {
  const sinceMs = new Map<string, number>()
  let earliestMs = nowMs
  let latestMs = nowMs
  return {
    learn([, , reachedMs, name, fromMs]: UncoveredReply): void {
      earliestMs = Math.min(earliestMs, reachedMs)
      latestMs = Math.max(latestMs, reachedMs)
      sinceMs.set(name, Math.min(fromMs, sinceMs.get(name) ?? fromMs))
    },
    addTo(around: Calendars): Calendars {
      if (sinceMs.size === 0) return around
      const names = new Set([...Object.keys(around), ...sinceMs.keys()])
      return Object.fromEntries(
        [...names].map((name) => {
          const fromMs = Math.min(earliestMs, sinceMs.get(name) ?? earliestMs)
          return [name, calendars.since(name, fromMs, latestMs)]
        }),
      )
    },
  }
}
