import type { LateReports, RetryParts } from './late-reports.js'
import { expireLeases } from './meter.js'
import type { Metrics } from './telemetry/metrics.js'
import type { Recorder } from './telemetry/record.js'

export interface UpkeepParts extends RetryParts {
  readonly metrics: Pick<Metrics, 'setLedgerSize'>
  readonly recorder: Pick<Recorder, 'ended' | 'failure' | 'report'>
  readonly lateReports: LateReports
  readonly ready: () => boolean
  /** Tells the health service of gRPC. */
  readonly setServing: (serving: boolean) => void
}

/**
 * What is due about once a second, whether calls come or not: health follows readiness, reports that the ledger
 * missed are metered, and reservations whose report never came are ended by their lease. Never fails: what could not
 * be ended is tried again the next time.
 */
export async function upkeep(parts: UpkeepParts): Promise<void> {
  parts.setServing(parts.ready())
  parts.metrics.setLedgerSize(parts.ledger.size())
  try {
    for await (const ended of parts.lateReports.retry(parts)) {
      parts.recorder.report(ended)
      if (ended !== undefined) await parts.recorder.ended(ended)
    }
    for (const ended of await expireLeases(parts)) await parts.recorder.ended(ended)
  } catch (error) {
    parts.recorder.failure('expire', error)
  }
}
