import { ComingError, DependencyError } from './errors.js'
import { endedSoFar, meter, noTries } from './meter.js'
import type { EndedReservation, MeterParts, Report, ReportTries } from './meter.js'
import { isOfOneCall } from './store/store.js'
import { SECOND_MS } from './units.js'

/**
 * Reports for which the ledger could not be reached. Envoy sends each once, so without another try the whole
 * reservation would stay spent. Held in memory: a restart loses them, and then the lease ends the reservation.
 */
export interface LateReports {
  /**
   * Beyond 10,000 the oldest is let go of.
   *
   * @param tries what the one that failed has come to
   */
  keep(report: Report, tries?: ReportTries): void
  /**
   * Meters some of what is kept, oldest first. What fails waits behind the rest, so that one node that is away holds
   * up no report for the others. What the ledger answers and cannot end is given up at its tenth failure, but for what it
   * says to be coming. Does nothing while an earlier round is under way.
   *
   * @returns what ended, though in part, and undefined for each report that is given up or let go of and ended nothing
   */
  retry(parts: RetryParts): AsyncGenerator<EndedReservation | undefined, void>
  count(): number
}

export interface RetryParts extends MeterParts {
  /** Takes over what a shared ledger does not know yet; undefined: nobody else reserves in the ledger. */
  readonly earlyReports?: { keep(report: Report): boolean } | undefined
}

const MAX_FAILED = 10_000
/** In one round, that is in one second, beside the calls that come. */
const MAX_RETRIED = 500
/** After a failure a round goes on for no longer: until a breaker opens, each one takes its whole timeout. */
const FAILING_ROUND_MS = SECOND_MS / 2
/**
 * Of one report that the ledger answers: a key that is moving has arrived by then, and a state that this release cannot
 * read is read by no later try. Kept for ever, it would hold up each drain until its deadline.
 */
const MAX_ANSWERED = 10

interface Kept {
  readonly report: Report
  readonly tries: ReportTries
  /** Tries at which the ledger answered, and could not end it. */
  answered: number
}

export function createLateReports(): LateReports {
  const failed = new Map<string, Kept>()
  /** To be told of at the next round. */
  const letGo: Kept[] = []
  let isRetrying = false

  async function* round(parts: RetryParts): AsyncGenerator<EndedReservation | undefined, void> {
    const startedMs = parts.clock.monotonicMs()
    let hasFailed = false
    for (const { report, tries } of letGo.splice(0, MAX_RETRIED)) {
      yield endedSoFar(report, tries, parts)
    }
    for (const kept of [...failed.values()].slice(0, MAX_RETRIED)) {
      const { report, tries } = kept
      if (hasFailed && parts.clock.monotonicMs() - startedMs >= FAILING_ROUND_MS) return
      try {
        const ended = await meter(report, parts, tries)
        failed.delete(report.reservationId)
        if (ended !== undefined || parts.earlyReports?.keep(report) !== true) yield ended
      } catch (error) {
        if (!(error instanceof DependencyError)) {
          failed.delete(report.reservationId)
          throw error
        }
        // One that comes is ended when it is there, however long that takes.
        if (isOfOneCall(error)) kept.answered += error instanceof ComingError ? 0 : 1
        else hasFailed = true
        if (kept.answered < MAX_ANSWERED) putLast(kept)
        else if (failed.delete(report.reservationId)) yield endedSoFar(report, tries, parts)
      }
    }
  }

  /** If it was not let go of meanwhile. */
  function putLast(kept: Kept): void {
    const { reservationId } = kept.report
    if (failed.delete(reservationId)) failed.set(reservationId, kept)
  }

  return {
    keep(report, tries = noTries()) {
      const { reservationId } = report
      // What is known of one that comes twice is what the first has begun.
      const begun = failed.get(reservationId)?.tries ?? tries
      failed.set(reservationId, { report, tries: begun, answered: 0 })
      if (failed.size <= MAX_FAILED) return
      const [oldest] = failed.values()
      if (oldest === undefined) return
      failed.delete(oldest.report.reservationId)
      // Beyond that upkeep stands still, too.
      if (letGo.length < MAX_FAILED) letGo.push(oldest)
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

    count: () => failed.size + letGo.length,
  }
}
