import { DependencyError } from './errors.js'
import { isShared, meter } from './meter.js'
import type { EndedReservation, MeterParts, Report } from './meter.js'
import { SECOND_MS } from './units.js'

/**
 * Reports that ended nothing when they came, and still may. Envoy sends each once, so without another try the whole
 * reservation would stay spent. Held in memory: a restart loses them, and then the lease ends the reservation.
 */
export interface LateReports {
  /** The ledger could not be reached. Beyond 10,000 the oldest is let go of. */
  keep(report: Report): void
  /**
   * A shared ledger does not know the reservation: another process made it, and may not have told the ledger yet.
   *
   * @returns false where it is not kept: there are 1000 such reports, or one with this id
   */
  keepUnknown(report: Report): boolean
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
/** Apart from the others: whatever is sent with ids that nobody knows, no report that is good is let go of for it. */
const MAX_UNKNOWN = 1000
/** Of each kind in one round, that is in one second, beside the calls that come. */
const MAX_RETRIED = 500
/** After a failure a round goes on for no longer: until a breaker opens, each one takes its whole timeout. */
const FAILING_ROUND_MS = SECOND_MS / 2
/** A second apart. The ledger is told of a reservation 25 ms later, and no call to it takes longer than its timeout. */
const MAX_VAIN_TRIES = 3

interface Kept {
  readonly report: Report
  /** So often a shared ledger answered that it does not know the reservation. */
  readonly vainTries: number
}

type Queue = Map<string, Kept>

export function createLateReports(): LateReports {
  const failed: Queue = new Map()
  const unknown: Queue = new Map()
  let isRetrying = false

  async function* round(parts: MeterParts): AsyncGenerator<EndedReservation | undefined, void> {
    const startedMs = parts.clock.monotonicMs()
    let hasFailed = false
    for (const queue of [failed, unknown]) {
      for (const kept of [...queue.values()].slice(0, MAX_RETRIED)) {
        if (hasFailed && parts.clock.monotonicMs() - startedMs >= FAILING_ROUND_MS) return
        const { report, vainTries } = kept
        try {
          const ended = await meter(report, parts)
          if (ended === undefined && isShared(parts) && vainTries + 1 < MAX_VAIN_TRIES) {
            putLast(queue, { report, vainTries: vainTries + 1 })
            continue
          }
          queue.delete(report.reservationId)
          yield ended
        } catch (error) {
          if (!(error instanceof DependencyError)) {
            queue.delete(report.reservationId)
            throw error
          }
          hasFailed = true
          putLast(queue, kept)
        }
      }
    }
  }

  return {
    keep(report) {
      failed.set(report.reservationId, { report, vainTries: 0 })
      const oldest = failed.keys().next()
      if (failed.size > MAX_FAILED && oldest.done !== true) failed.delete(oldest.value)
    },

    keepUnknown(report) {
      if (unknown.size >= MAX_UNKNOWN || unknown.has(report.reservationId)) return false
      unknown.set(report.reservationId, { report, vainTries: 0 })
      return true
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

    count: () => failed.size + unknown.size,
  }
}

/** If it was not let go of meanwhile. */
function putLast(queue: Queue, kept: Kept): void {
  const { reservationId } = kept.report
  if (queue.delete(reservationId)) queue.set(reservationId, kept)
}
