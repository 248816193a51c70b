import { setImmediate as nextTurn } from 'node:timers/promises'
import { DependencyError } from './errors.js'
import { meter, noTries } from './meter.js'
import type { EndedReservation, MeterParts, Report, ReportTries } from './meter.js'

/**
 * Reports of reservations that a shared ledger does not know yet: another process decided them from a slice, and tells
 * the ledger 25 ms later (`quota/slices/sliced-ledger.ts`). Short streams end before that, and a load balancer brings
 * most of their reports elsewhere, so they are tried again as soon as they can be good. Envoy sends each once.
 */
export interface EarlyReports {
  /** @returns false where it is not kept: there is no room, or one with this id is kept */
  keep(report: Report): boolean
  count(): number
  /** Tries none again. */
  close(): void
}

export interface EarlyReportsParts extends MeterParts {
  /** Runs something later; the answer takes it back. Must not keep the process alive. */
  readonly after: (delayMs: number, run: () => void) => () => void
  /** What a report ended; undefined where it is given up. */
  readonly onEnded: (ended: EndedReservation | undefined) => Promise<void>
  readonly onFailure: (error: unknown) => void
  /** Takes over what fails: there may be a reservation, and where a node is away the reports of others do not wait. */
  readonly lateReports: { keep(report: Report, tries: ReportTries): void }
}

/** Before each further try: three seconds in all. A turn that brings a reservation to the ledger may fail once or twice. */
const PAUSES_MS = [50, 150, 800, 2000] as const
const TICK_MS = 25
/** Calls of the ledger beside those that come. */
const MAX_AT_ONCE = 32
/**
 * A process leaves at most 1000 reservations untold and asks the ledger for more. So whatever one caller floods the
 * processes with, there is room for the early reports of others (seen: 490 at 1000 short streams a second).
 */
const MAX_KEPT = 10_000

interface Kept {
  readonly report: Report
  readonly dueMs: number
}

export function createEarlyReports(parts: EarlyReportsParts): EarlyReports {
  const { clock, after, onEnded, onFailure, lateReports } = parts
  /** By how often they were tried again, each in the order in which they are due. */
  const queues = PAUSES_MS.map(() => new Map<string, Kept>())
  const underWay = new Set<string>()
  let cancel: (() => void) | undefined
  let isTrying = false
  let isClosed = false

  function count(): number {
    return queues.reduce((sum, queue) => sum + queue.size, underWay.size)
  }

  function arm(): void {
    if (isClosed || isTrying || count() === 0) return
    cancel ??= after(TICK_MS, () => {
      cancel = undefined
      void tryDue()
    })
  }

  function put(tries: number, report: Report, pauseMs: number): void {
    const dueMs = clock.monotonicMs() + pauseMs
    queues[tries]?.set(report.reservationId, { report, dueMs })
  }

  /** False: that was its last try. */
  function putNext(tries: number, report: Report): boolean {
    const pauseMs = PAUSES_MS[tries + 1]
    if (pauseMs === undefined) return false
    put(tries + 1, report, pauseMs)
    return true
  }

  function takeDue(): readonly [report: Report, tries: number] | undefined {
    const nowMs = clock.monotonicMs()
    if (isClosed) return undefined
    for (const [tries, queue] of queues.entries()) {
      const [first] = queue.values()
      if (first === undefined || first.dueMs > nowMs) continue
      queue.delete(first.report.reservationId)
      return [first.report, tries]
    }
    return undefined
  }

  async function tellEnded(ended: EndedReservation | undefined): Promise<void> {
    try {
      await onEnded(ended)
    } catch (error) {
      onFailure(error)
    }
  }

  /** @returns whether it has failed */
  async function tryAgain(report: Report, tries: number): Promise<boolean> {
    const { reservationId } = report
    underWay.add(reservationId)
    const tried = noTries()
    try {
      const ended = await meter(report, parts, tried)
      if (ended !== undefined || !putNext(tries, report)) await tellEnded(ended)
      return false
    } catch (error) {
      if (error instanceof DependencyError) lateReports.keep(report, tried)
      else onFailure(error)
      return true
    } finally {
      underWay.delete(reservationId)
    }
  }

  async function tryInTurn(): Promise<void> {
    for (let due = takeDue(); due !== undefined; due = takeDue()) {
      const hasFailed = await tryAgain(...due)
      // Where a breaker is open nothing is waited for, and all that is due would fail in one turn of the event loop.
      if (hasFailed) await nextTurn()
    }
  }

  async function tryDue(): Promise<void> {
    isTrying = true
    await Promise.all(Array.from({ length: MAX_AT_ONCE }, tryInTurn))
    isTrying = false
    arm()
  }

  /** Of those that are kept, what was tried most often is likeliest to be of no reservation at all. */
  function hasRoom(): boolean {
    if (count() < MAX_KEPT) return true
    const queue = queues.findLast(({ size }, tries) => tries > 0 && size > 0)
    const [oldest] = queue?.keys() ?? []
    if (queue === undefined || oldest === undefined) return false
    queue.delete(oldest)
    void tellEnded(undefined)
    return true
  }

  return {
    keep(report) {
      const { reservationId } = report
      if (underWay.has(reservationId) || queues.some((queue) => queue.has(reservationId))) {
        return false
      }
      if (!hasRoom()) return false
      put(0, report, PAUSES_MS[0])
      arm()
      return true
    },
    count,
    close() {
      isClosed = true
      cancel?.()
    },
  }
}
