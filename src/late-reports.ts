import { DependencyError } from './errors.js'
import { meter } from './meter.js'
import type { EndedReservation, MeterParts, Report } from './meter.js'

/**
 * Reports that came while the ledger could not be reached. Envoy sends each once, so without another try the whole
 * reservation would stay spent. Held in memory: a restart loses them, and then the lease ends the reservation.
 */
export interface LateReports {
  /** Beyond 10,000 the oldest is let go of. */
  keep(report: Report): void
  /**
   * Meters some of what is kept, oldest first, until the ledger fails again.
   *
   * @returns what ended, and undefined for each report that ended nothing
   */
  retry(parts: MeterParts): Promise<readonly (EndedReservation | undefined)[]>
  count(): number
}

const MAX_KEPT = 10_000
/** In one second, beside the calls that come. */
const MAX_RETRIED = 500

export function createLateReports(): LateReports {
  const kept = new Map<string, Report>()

  return {
    keep(report) {
      kept.set(report.reservationId, report)
      const oldest = kept.keys().next()
      if (kept.size > MAX_KEPT && oldest.done !== true) kept.delete(oldest.value)
    },

    async retry(parts) {
      const ended: (EndedReservation | undefined)[] = []
      for (const report of [...kept.values()].slice(0, MAX_RETRIED)) {
        try {
          ended.push(await meter(report, parts))
        } catch (error) {
          // It stays, and so do those behind it.
          if (error instanceof DependencyError) return ended
          kept.delete(report.reservationId)
          throw error
        }
        kept.delete(report.reservationId)
      }
      return ended
    },

    count: () => kept.size,
  }
}
