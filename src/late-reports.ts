import { DependencyError } from './errors.js'
import { isShared, meter } from './meter.js'
import type { EndedReservation, MeterParts, Report } from './meter.js'
import { SECOND_MS } from './units.js'

/**
 * Reports for which the ledger could not be reached. Envoy sends each once, so without another try the whole
 * reservation would stay spent. Held in memory: a restart loses them, and then the lease ends the reservation.
 */
export interface LateReports {
  /** Beyond 10,000 the oldest is let go of. */
  keep(report: Report): void
  /**
   * Meters some of what is kept, oldest first. What fails waits behind the rest, so that one node that is away holds
   * up no report for the others. Does nothing while an earlier round is under way.
   *
   * @returns what ended, and undefined for each report that is given up because it ended nothing
   */
  retry(parts: MeterParts): AsyncGenerator<EndedReservation | undefined, void>
  count(): number
}

const MAX_FAILED = 10_000
/** In one round, that is in one second, beside the calls that come. */
const MAX_RETRIED = 500
/** After a failure a round goes on for no longer: until a breaker opens, each one takes its whole timeout. */
const FAILING_ROUND_MS = SECOND_MS / 2
/** A second apart: a shared ledger is told of some reservations only after their reports (`early-reports.ts`). */
const MAX_VAIN_TRIES = 3

interface Kept {
  readonly report: Report
  /** So often a shared ledger answered that it does not know the reservation. */
  readonly vainTries: number
}

export function createLateReports(): LateReports {
  const failed = new Map<string, Kept>()
  let isRetrying = false

  async function* round(parts: MeterParts): AsyncGenerator<EndedReservation | undefined, void> {
    const startedMs = parts.clock.monotonicMs()
    let hasFailed = false
    for (const kept of [...failed.values()].slice(0, MAX_RETRIED)) {
      if (hasFailed && parts.clock.monotonicMs() - startedMs >= FAILING_ROUND_MS) return
      const { report, vainTries } = kept
      try {
        const ended = await meter(report, parts)
        if (ended === undefined && isShared(parts) && vainTries + 1 < MAX_VAIN_TRIES) {
          putLast({ report, vainTries: vainTries + 1 })
          continue
        }
        failed.delete(report.reservationId)
        yield ended
      } catch (error) {
        if (!(error instanceof DependencyError)) {
          failed.delete(report.reservationId)
          throw error
        }
        hasFailed = true
        putLast(kept)
      }
    }
  }

  /** If it was not let go of meanwhile. */
  function putLast(kept: Kept): void {
    const { reservationId } = kept.report
    if (failed.delete(reservationId)) failed.set(reservationId, kept)
  }

  return {
    keep(report) {
      failed.set(report.reservationId, { report, vainTries: 0 })
      const oldest = failed.keys().next()
      if (failed.size > MAX_FAILED && oldest.done !== true) failed.delete(oldest.value)
    },

    async *retry(parts) {
      if (isRetrying) return
      isRetrying = true
      try {
        yield* round(parts)
      } finally {
        isRetrying = false
      }
    },

    count: () => failed.size,
  }
}
