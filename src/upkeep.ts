import type { Timers } from './config/follow.js'
import type { LateReports, RetryParts } from './late-reports.js'
import { expireLeases } from './meter.js'
import type { EndedReservation } from './meter.js'
import type { Metrics } from './telemetry/metrics.js'
import type { Recorder } from './telemetry/record.js'
import { SECOND_MS } from './units.js'

export interface UpkeepParts extends RetryParts {
  readonly metrics: Pick<Metrics, 'setLedgerSize'>
  readonly recorder: Pick<Recorder, 'ended' | 'failure' | 'report' | 'upkeep'>
  readonly lateReports: LateReports
  readonly ready: () => boolean
  /** Tells the health service of gRPC. */
  readonly setServing: (serving: boolean) => void
}

/** What goes on failing for so long is told of; what has failed before is over after as long without. */
const GOES_ON_MS = 10 * SECOND_MS
const LAST_ROUND_MS = 2 * SECOND_MS

/**
 * What is due about once a second, whether calls come or not: health follows readiness, reports that the ledger
 * missed are metered, and reservations whose report never came are ended by their lease. Never fails: what could not
 * be ended is tried again the next time.
 *
 * Neither of the two runs beside itself, or one end could be told by both rounds; and reports wait for no lease of an
 * earlier round, which a store may hold up for long.
 */
export interface Upkeep {
  round(parts: UpkeepParts): Promise<void>
  /**
   * Over when the rounds that are under way are, since nobody else tells of what they have ended; or after 2 s, since a
   * store that hangs, or a disk, must not hold up the end of the process.
   */
  over(timers: Timers): Promise<void>
}

export function createUpkeep(): Upkeep {
  const underWay = new Set<Promise<void>>()
  let isEnding = false
  let failing: { readonly sinceMs: number; lastMs: number; isTold: boolean } | undefined

  function failed({ recorder, clock }: UpkeepParts, error: unknown): void {
    recorder.failure('expire', error)
    const nowMs = clock.monotonicMs()
    failing ??= { sinceMs: nowMs, lastMs: nowMs, isTold: false }
    failing.lastMs = nowMs
    if (failing.isTold || nowMs - failing.sinceMs < GOES_ON_MS) return
    failing.isTold = true
    recorder.upkeep({ goesOn: true, error })
  }

  function lookWhetherItIsOver({ recorder, clock }: UpkeepParts): void {
    if (failing === undefined || clock.monotonicMs() - failing.lastMs < GOES_ON_MS) return
    if (failing.isTold) recorder.upkeep({ goesOn: false })
    failing = undefined
  }

  async function retryReports(parts: UpkeepParts): Promise<void> {
    const records: Promise<void>[] = []
    try {
      for await (const ended of parts.lateReports.retry(parts)) {
        parts.recorder.report(ended)
        if (ended !== undefined) records.push(recordOf(ended, parts))
      }
    } finally {
      await Promise.all(records)
    }
  }

  /** All of a round are asked for together, for one commit, and whatever becomes of one of them. */
  async function recordOf(ended: EndedReservation, parts: UpkeepParts): Promise<void> {
    try {
      await parts.recorder.ended(ended)
    } catch (error) {
      failed(parts, error)
    }
  }

  async function endLeases(parts: UpkeepParts): Promise<void> {
    if (isEnding) return
    isEnding = true
    let ended: readonly EndedReservation[]
    try {
      const onFailure = (error: unknown): void => {
        failed(parts, error)
      }
      ended = await expireLeases(parts, onFailure)
      lookWhetherItIsOver(parts)
    } finally {
      // They have ended: the next round waits for no record of them, which a required audit may hold up for long.
      isEnding = false
    }
    await Promise.all(ended.map((each) => recordOf(each, parts)))
  }

  async function all(parts: UpkeepParts): Promise<void> {
    parts.setServing(parts.ready())
    parts.metrics.setLedgerSize(parts.ledger.size())
    // Leases last: a report that comes late settles what one of them would keep whole.
    for (const due of [retryReports, endLeases]) {
      await due(parts).catch((error: unknown) => {
        failed(parts, error)
      })
    }
  }

  return {
    async round(parts) {
      const round = all(parts)
      underWay.add(round)
      try {
        await round
      } finally {
        underWay.delete(round)
      }
    },
    over: (timers) =>
      new Promise((resolve) => {
        const cancel = timers.after(LAST_ROUND_MS, resolve)
        void Promise.allSettled(underWay).then(() => {
          cancel()
          resolve()
        })
      }),
  }
}
