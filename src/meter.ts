import type { Admission } from './admission.js'
import type { Clock } from './clock.js'
import { dialectIfKnown } from './llm/dialects.js'
import type { GenerationRates } from './llm/generation-rate.js'
import { totalInputTokens } from './llm/usage.js'
import type { ReportedUsage } from './llm/usage.js'
import { costMicros, mostCostMicros } from './prices.js'
import type { GuardedLedger } from './quota/failover/guarded-ledger.js'
import type { End, Ended, Tries } from './quota/ledger.js'
import { KIB_BYTES, saturated, SECOND_MS } from './units.js'

/** What Envoy says of one admitted stream when it is over. Undefined where Envoy had no figure. */
export interface Report {
  readonly reservationId: string
  readonly usage: ReportedUsage
  /** Body bytes sent to the client. */
  readonly bytesSent: number | undefined
  readonly durationMs: number | undefined
  /** HTTP status the client got, 0 when it left before one. */
  readonly endStatus: number | undefined
  /** How often Envoy tried an engine. */
  readonly attempts: number | undefined
  /** 0 exactly when no engine got anything of the request. */
  readonly upstreamBytesSent: number | undefined
  /** 0 when the engine broke off before it answered. */
  readonly upstreamBytesReceived: number | undefined
  /** From the end of the request to the end of the engine's answer; only where it came to its end. */
  readonly upstreamDurationMs: number | undefined
}

/**
 * So much of an answer Envoy takes from the engine though the client reads nothing (its stream window of 64 KiB; seen:
 * 65,676 bytes). Within it, how long the engine took does not depend on the client.
 */
const BUFFERED_BYTES = 60 * KIB_BYTES

/** An engine that refuses does so before it works. Later, a 4xx may be what came of the work. */
const REFUSAL_MS = 5 * SECOND_MS

/** A reservation that has just ended, by its report or by its lease. */
export interface EndedReservation {
  readonly atEpochMs: number
  readonly ended: Ended<Admission>
  /** What the reservation came to; undefined when its lease ran out. */
  readonly end: End | undefined
  readonly report: Report | undefined
}

export interface MeterParts {
  readonly ledger: GuardedLedger<Admission>
  readonly rates: GenerationRates
  readonly clock: Clock
}

/** What the tries of one report have come to. Whoever tries it again keeps it beside the report. */
export interface ReportTries {
  readonly ledger: Tries<Admission>
  /** How the reservation ends, as the first try that found it said: all its parts come to the same. */
  settling?: Settling | undefined
}

interface Settling {
  readonly context: Admission
  readonly sinceAdmission: Report
  readonly end: End
}

export function noTries(): ReportTries {
  return { ledger: {} }
}

/**
 * The story of ShouldRateLimit at stream end: the report finds its reservation, says how it ends, and the ledger
 * ends it once. An unknown or repeated id changes nothing and answers undefined.
 *
 * @param tries of this report, where this is not the first
 */
export async function meter(
  report: Report,
  parts: MeterParts,
  tries = noTries(),
): Promise<EndedReservation | undefined> {
  const nowEpochMs = parts.clock.nowEpochMs()
  tries.settling ??= await settle(report, nowEpochMs, parts)
  if (tries.settling === undefined) return undefined

  const { context, sinceAdmission, end } = tries.settling
  const ended = await parts.ledger.end(report.reservationId, end, nowEpochMs, tries.ledger)
  if (ended === undefined) return undefined

  learn(sinceAdmission, context, end, parts.rates)
  return { atEpochMs: nowEpochMs, ended, end, report }
}

async function settle(
  report: Report,
  nowEpochMs: number,
  { ledger, rates }: MeterParts,
): Promise<Settling | undefined> {
  const reservation = await ledger.find(report.reservationId, nowEpochMs)
  if (reservation === undefined) return undefined
  const { context, heldMs } = reservation
  const sinceAdmission = withinAdmission(report, heldMs)
  return { context, sinceAdmission, end: endOf(sinceAdmission, context, rates) }
}

/** What a report has ended that is tried no more: a part that failed is left to its lease, and told of by nobody. */
export function endedSoFar(
  report: Report,
  { settling, ledger: { ended } }: ReportTries,
  { clock }: Pick<MeterParts, 'clock'>,
): EndedReservation | undefined {
  if (settling === undefined || ended === undefined) return undefined
  return { atEpochMs: clock.nowEpochMs(), ended, end: settling.end, report }
}

/**
 * Do other processes reserve in the same ledger? Then a reservation that it does not know may only not have reached it
 * yet: one from a slice does so afterwards (`quota/slices/sliced-ledger.ts`), and its report can be quicker, at any
 * process.
 */
export function isShared({ ledger }: MeterParts): boolean {
  return ledger.size().processes !== undefined
}

/** Ends what was never reported: its lease ran out, all of it stays spent; or it was given back later than it should be. */
export async function expireLeases(
  parts: MeterParts,
  onFailure?: (error: unknown) => void,
): Promise<readonly EndedReservation[]> {
  const nowEpochMs = parts.clock.nowEpochMs()
  const expired = await parts.ledger.expire(nowEpochMs, onFailure)
  return expired.map((ended) => ({
    atEpochMs: nowEpochMs,
    ended,
    end: ended.outcome === 'released' ? { kind: 'released' } : undefined,
    report: undefined,
  }))
}

/**
 * How a reservation ends (docs/design.md). That nothing was generated has to be proved: a client that leaves
 * a non-streaming request shows status 0 and no bytes while the engine works on.
 *
 * @param report as `withinAdmission` gives it
 */
export function endOf(report: Report, admission: Admission, rates: GenerationRates): End {
  if (provesNothingGenerated(report, admission)) return { kind: 'released' }
  const dialect = dialectIfKnown(admission.dialect)
  if (dialect === undefined) return whatWasHeld(report, admission)

  const inputTokens = totalInputTokens(dialect, report.usage)
  const { outputTokens } = report.usage
  const exact = !admission.runningUsage && admission.candidatesPerChoice === 1

  if (exact && inputTokens !== undefined && outputTokens !== undefined) {
    return priced({ kind: 'settled', inputTokens, outputTokens }, report, admission)
  }
  const estimated = {
    kind: 'estimated',
    inputTokens: estimateInput(inputTokens, report, admission),
    outputTokens: estimateOutput(report, admission, rates),
  } as const
  return priced(estimated, report, admission)
}

/**
 * Of a dialect that only another release on the same Redis knows: what its figures count is not guessed at. Each is the
 * least that it can be.
 */
function whatWasHeld(report: Report, admission: Admission): End {
  const { usage } = report
  const { prices } = admission
  const inputTokens = Math.max(mostInput(report, admission), usage.inputTokens ?? 0)
  const outputTokens = Math.max(mostOutput(report, admission), usage.outputTokens ?? 0)
  const held = { kind: 'estimated', inputTokens, outputTokens } as const
  if (prices === undefined) return held
  return { ...held, costMicros: mostCostMicros(prices, inputTokens, outputTokens) }
}

/** With what it costs. Cached tokens count as such where the input that they are part of was reported. */
function priced(
  end: Exclude<End, { kind: 'released' }>,
  { usage }: Report,
  { prices }: Admission,
): End {
  if (prices === undefined) return end
  const known = usage.inputTokens !== undefined
  const used = {
    inputTokens: end.inputTokens,
    cachedTokens: known ? (usage.cachedTokens ?? 0) : 0,
    cacheWriteTokens: known ? (usage.cacheWriteTokens ?? 0) : 0,
    outputTokens: end.outputTokens,
  }
  return { ...end, costMicros: costMicros(prices, used) }
}

/** A figure that is missing never releases, and neither does a report with usage. */
function provesNothingGenerated(report: Report, { failsLate }: Admission): boolean {
  const { inputTokens, outputTokens } = report.usage
  if (inputTokens !== undefined || outputTokens !== undefined) return false
  if (report.upstreamBytesSent === 0) return true
  const cameEarly = report.durationMs !== undefined && report.durationMs <= REFUSAL_MS
  const refusedByEngine =
    report.endStatus === 503 || (isClientError(report) && cameEarly && !failsLate)
  return refusedByEngine && wasAnsweredOnce(report)
}

function isClientError({ endStatus }: Report): boolean {
  return endStatus !== undefined && endStatus >= 400 && endStatus < 500
}

/** The one engine that was tried has spoken, so the status is its own. */
function wasAnsweredOnce({ attempts, upstreamBytesReceived }: Report): boolean {
  return attempts === 1 && upstreamBytesReceived !== undefined && upstreamBytesReceived > 0
}

/** In full per attempt where none was reported. Running usage tells that of one prompt, where there may be several. */
function estimateInput(
  reportedTokens: number | undefined,
  report: Report,
  admission: Admission,
): number {
  if (reportedTokens === undefined) return mostInput(report, admission)
  return admission.runningUsage ? Math.max(reportedTokens, admission.inputTokens) : reportedTokens
}

/**
 * A reported figure is the least that it can be: the running one of a stream that was cut is behind what was
 * generated, and an engine may leave out the candidates that it did not return.
 */
function estimateOutput(report: Report, admission: Admission, rates: GenerationRates): number {
  const { outputTokens } = report.usage
  if (outputTokens === undefined) return estimateFromOutside(report, admission, rates)
  const allCandidates = outputTokens * admission.candidatesPerChoice
  return Math.max(
    outputTokens,
    Math.min(allCandidates, mostOutput(report, admission)),
    admission.runningUsage ? estimateFromOutside(report, admission, rates) : 0,
  )
}

/**
 * By bytes and time, which is all that Envoy sees: at most the output reservation per attempt, and all of it where
 * nothing proves that it was less.
 */
function estimateFromOutside(report: Report, admission: Admission, rates: GenerationRates): number {
  const mostTokens = mostOutput(report, admission)
  const stopped =
    admission.stream ||
    admission.stopsOnDisconnect ||
    (isClientError(report) && wasAnsweredOnce(report))
  if (!stopped || admission.withholdsTokens) return mostTokens
  const { bytesSent: bytes, durationMs } = report
  if (bytes === undefined || durationMs === undefined) return mostTokens
  const generatedTokens = rates.estimate(
    { model: admission.model, dialect: admission.dialect, stream: admission.stream },
    { bytes, durationMs, choices: admission.choices },
  )
  return Math.min(mostTokens, generatedTokens ?? mostTokens)
}

function mostInput(report: Report, admission: Admission): number {
  return saturated(admission.inputTokens * attemptsOf(report))
}

function mostOutput(report: Report, admission: Admission): number {
  return saturated(admission.outputTokens * attemptsOf(report))
}

/**
 * The report with a duration in which an engine can have generated: nothing was before the admission, though a
 * caller can make the request itself last by sending the body slowly.
 *
 * @param heldMs since the admission; undefined where only Envoy's figure is left, as the ledger has it
 */
export function withinAdmission(report: Report, heldMs: number | undefined): Report {
  const { durationMs } = report
  if (durationMs === undefined || heldMs === undefined || durationMs <= heldMs) return report
  return { ...report, durationMs: heldMs }
}

function attemptsOf(report: Report): number {
  return Math.max(1, report.attempts ?? 1)
}

/** Settled reports teach how many tokens a byte and a millisecond of this model and dialect stand for. */
function learn(report: Report, admission: Admission, end: End, rates: GenerationRates): void {
  if (end.kind !== 'settled' || report.endStatus !== 200 || !admission.teachesRates) return
  const { bytesSent: bytes, upstreamDurationMs: durationMs } = report
  if (bytes === undefined) return
  rates.observe(
    { model: admission.model, dialect: admission.dialect, stream: admission.stream },
    {
      outputTokens: end.outputTokens,
      bytes,
      durationMs,
      // A caller that reads slowly can make the engine look slow: that adds no rate, and lowers none.
      heldUp: bytes > BUFFERED_BYTES,
    },
  )
}
