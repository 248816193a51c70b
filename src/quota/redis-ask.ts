import type { Clock } from '../clock.js'
import type { Script, Store } from '../store/store.js'
import type { Calendars, CalendarSource } from './redis-calendars.js'
import type { LedgerReply } from './redis-replies.js'

export interface AskOptions {
  readonly store: Store
  readonly clock: Pick<Clock, 'monotonicMs'>
  readonly calendars: CalendarSource
  /** How long a call may take, all in all. */
  readonly timeoutMs: number
  /** As of `RedisLedgerOptions`. */
  readonly moments: 'redis' | 'given'
}

/**
 * Runs a script with the calendars that it needs; asks once more where it needs others.
 *
 * @param call what the script takes as JSON; the deadline, the calendars and a given moment are added
 * @param texts what it takes as it is
 */
export type Ask = (
  script: Script,
  keys: readonly string[],
  call: object,
  nowMs: number,
  calendarsAt: (atEpochMs: number) => Calendars,
  texts?: readonly string[],
) => Promise<LedgerReply>

/** An answer that names calendar windows which the call did not bring is asked again; windows of a request are few. */
const MAX_ASKED = 4

export function createAsk({ store, clock, calendars, timeoutMs, moments }: AskOptions): Ask {
  return async (script, keys, call, nowMs, calendarsAt, texts = []) => {
    const dueMs = clock.monotonicMs() + timeoutMs
    const given = moments === 'given' ? { momentMs: nowMs } : {}
    let further: Calendars = {}
    let atMs = nowMs
    for (let asked = 1; ; asked += 1) {
      const windows = { ...calendarsAt(atMs), ...further }
      const argsUntil = (untilMs: number) => [
        JSON.stringify({ ...call, ...given, untilMs, calendars: windows }),
        ...texts,
      ]
      // The store knows no script: what each answers is told by `lua/` alone, and held by the contract of the ledger.
      const reply = (await store.run(script, keys, argsUntil, dueMs)) as unknown as LedgerReply
      if (reply[0] !== 'uncovered' || asked === MAX_ASKED) return reply
      const [, , reachedMs, name, fromMs] = reply
      atMs = reachedMs
      further = { ...further, [name]: calendars.since(name, fromMs, atMs) }
    }
  }
}
