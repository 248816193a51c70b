import { setImmediate as nextTurn } from 'node:timers/promises'
import { ComingError, DependencyError } from './errors.js'
import { endedSoFar, meter, noTries } from './meter.js'
import type { EndedReservation, MeterParts, Report, ReportTries } from './meter.js'
import { MAX_ANSWERED } from './quota/expired.js'
import { weightOf } from './quota/remembered.js'
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
/** In one round, of those that were let go of, each with an audit record; so many in one turn of the event loop. */
const MAX_TOLD = 2000
const TOLD_IN_TURN = 100
/** After a failure a round goes on for no longer: until a breaker opens, each one takes its whole timeout. */
const FAILING_ROUND_MS = SECOND_MS / 2

interface Kept {
  readonly report: Report
  readonly tries: ReportTries
  /** Tries at which the ledger answered, and could not end it. */
  answered: number
  /** Of those that there is room for: a reservation that the report has begun to end is kept with it. */
  weight: number
}

/** Of two that were told of the same: what either has ended the other finds no more. */
function further(newer: ReportTries, older: ReportTries | undefined): ReportTries {
  if (older === undefined || newer.ledger.ended !== undefined) return newer
  // Where both have begun, the first is likelier to have ended what its lost answer said.
  return (older.ledger.ended ?? older.ledger.begun) === undefined ? newer : older
}

export function createLateReports(): LateReports {
  const failed = new Map<string, Kept>()
  let weight = 0
  /** To be told of at the next round, as far as they have ended something. */
  const letGo: Kept[] = []
  let letGoOfNothing = 0
  let underWay: Kept | undefined
  let isRetrying = false

  function put(kept: Kept): void {
    failed.set(kept.report.reservationId, kept)
    const { begun } = kept.tries.ledger
    kept.weight = begun === undefined ? 1 : weightOf(begun.reservation)
    weight += kept.weight
  }

  /** False: it was let go of, or the same was told anew. */
  function take(kept: Kept): boolean {
    const { reservationId } = kept.report
    if (failed.get(reservationId) !== kept) return false
    failed.delete(reservationId)
    weight -= kept.weight
    return true
  }

  /** Also where it was told anew meanwhile, which was to be tried as the same. */
  function takeAlike({ report, tries }: Kept): void {
    const kept = failed.get(report.reservationId)
    if (kept?.tries === tries) take(kept)
  }

  function letGoOf(kept: Kept): void {
    take(kept)
    // Where no round comes that tells of them, only their number is kept.
    if (kept.tries.ledger.ended !== undefined && letGo.length < MAX_FAILED) letGo.push(kept)
    else letGoOfNothing += 1
  }

  /** The oldest that is not just being tried: what becomes of that is told by its round. */
  function oldest(): Kept | undefined {
    for (const kept of failed.values()) if (kept.tries !== underWay?.tries) return kept
    return undefined
  }

  function makeRoom(): void {
    while (weight > MAX_FAILED) {
      const kept = oldest()
      if (kept === undefined) return
      letGoOf(kept)
    }
  }

  async function* tellLetGo(parts: RetryParts): AsyncGenerator<EndedReservation | undefined, void> {
    for (let told = 0; told < MAX_TOLD && letGo.length + letGoOfNothing > 0; told += 1) {
      if (told % TOLD_IN_TURN === 0) await nextTurn()
      const kept = letGo.shift()
      if (kept === undefined) letGoOfNothing -= 1
      yield kept && endedSoFar(kept.report, kept.tries, parts)
    }
  }

  async function* round(parts: RetryParts): AsyncGenerator<EndedReservation | undefined, void> {
    const startedMs = parts.clock.monotonicMs()
    let hasFailed = false
    let hasJustFailed = false
    yield* tellLetGo(parts)
    for (const kept of [...failed.values()].slice(0, MAX_RETRIED)) {
      const { report, tries } = kept
      // Where a breaker is open nothing is waited for, and a whole round would be one turn of the event loop.
      if (hasJustFailed) await nextTurn()
      hasJustFailed = false
      if (hasFailed && parts.clock.monotonicMs() - startedMs >= FAILING_ROUND_MS) return
      // It was let go of meanwhile.
      if (failed.get(report.reservationId) !== kept) continue
      try {
        underWay = kept
        const ended = await meter(report, parts, tries)
        takeAlike(kept)
        if (ended !== undefined || parts.earlyReports?.keep(report) !== true) yield ended
      } catch (error) {
        if (!(error instanceof DependencyError)) {
          takeAlike(kept)
          throw error
        }
        // One that comes is ended when it is there, however long that takes.
        if (isOfOneCall(error)) kept.answered += error instanceof ComingError ? 0 : 1
        else hasFailed = true
        hasJustFailed = true
        if (!take(kept)) continue
        if (kept.answered < MAX_ANSWERED) put(kept)
        else yield endedSoFar(report, tries, parts)
        makeRoom()
      } finally {
        underWay = undefined
      }
    }
  }

  return {
    keep(report, tries = noTries()) {
      const before = failed.get(report.reservationId)
      if (before !== undefined) take(before)
      put({ report, tries: further(tries, before?.tries), answered: 0, weight: 0 })
      makeRoom()
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

    count: () => failed.size + letGo.length + letGoOfNothing,
  }
}
