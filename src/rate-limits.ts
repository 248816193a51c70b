import type { Clock } from './clock.js'
import { loadRateLimits } from './config/rate-limits/load.js'
import { loadRateLimitsInWorker, watchRateLimits } from './config/rate-limits/watch.js'
import type { RateLimitServiceSettings } from './config/settings.js'
import { createRateLimitService } from './envoy/rate-limit-service.js'
import type { RateLimitService } from './envoy/rate-limit-service.js'
import { formatFault, formatWarning } from './errors.js'
import type { ConfigWarning } from './errors.js'
import { openCounters } from './ratelimit/open-counters.js'
import type { RateLimitConfig } from './ratelimit/tree.js'
import type { Log } from './telemetry/log.js'
import type { Metrics } from './telemetry/metrics.js'

export interface RateLimitsParts {
  readonly clock: Clock
  readonly random: () => number
  /** What the heap of this process may hold. */
  readonly heapBytes: number
  readonly log: Log
  readonly metrics: Metrics
}

/** The rate limit service of a running program, and what else there is to know of it. */
export interface RunningRateLimits {
  readonly service: RateLimitService
  readonly config: () => RateLimitConfig
  /** Do its stores answer, as far as is known? */
  readonly isAvailable: () => boolean
  /** Looks at the files at once. */
  readonly reload: () => void
  /** Asks a store that is lost whether it answers again. To be called each second. */
  readonly askLost: () => void
  readonly close: () => void
}

const loadWorkerFile = new URL('./config/rate-limits/load-worker.js', import.meta.url)

/**
 * Reads the files, opens the stores, and follows the files.
 *
 * @throws ConfigError the files cannot be used
 */
export function startRateLimits(
  settings: RateLimitServiceSettings,
  { clock, random, heapBytes, log, metrics }: RateLimitsParts,
): RunningRateLimits {
  const running = loadRateLimits(settings)
  let config = running.config
  metrics.rateLimit.countLoad('loaded')
  warnOfNone(config, log)
  warnOfLines(running.warnings, log)
  const { counters, isAvailable, askLost } = openCounters(settings, {
    clock,
    random,
    heapBytes,
    onUnavailable: (reason) => {
      log.warn({ reason }, 'the rate limit store is unavailable: calls fail until it answers')
    },
    onAvailable: () => {
      log.info('the rate limit store is available again')
    },
  })
  const watch = watchRateLimits(settings, {
    running,
    load: (files) => loadRateLimitsInWorker(files, loadWorkerFile),
    onConfig: (next, warnings) => {
      config = next
      metrics.rateLimit.countLoad('loaded')
      log.info({ domainCount: config.domains.size }, 'rate limit files loaded')
      warnOfNone(config, log)
      warnOfLines(warnings, log)
    },
    clock,
    onRestless: () => {
      log.warn('rate limit files keep changing: none are loaded until they stand still')
    },
    onUnchanged: () => {
      log.info({ domainCount: config.domains.size }, 'rate limit files unchanged')
    },
    onFault: ({ faults }) => {
      metrics.rateLimit.countLoad('refused')
      for (const fault of faults)
        log.error(
          { fault: formatFault(fault) },
          'rate limit files refused, the last good ones stay',
        )
    },
  })
  return {
    service: createRateLimitService({
      ...settings,
      config: () => config,
      counters,
      headers: settings.responseHeaders,
      onAnswer: (answer) => {
        metrics.rateLimit.countAnswer(answer)
      },
    }),
    config: () => config,
    isAvailable,
    askLost,
    reload: () => {
      watch.reload()
    },
    close: () => {
      watch.close()
      counters.close()
    },
  }
}

function warnOfLines(warnings: readonly ConfigWarning[], log: Log): void {
  for (const warning of warnings) {
    log.warn(
      { warning: formatWarning(warning) },
      'rate limit files have something that does not mean what it looks like',
    )
  }
}

/** Most likely they lie elsewhere: every call in every domain is let through, and nobody would notice. */
function warnOfNone({ domains }: RateLimitConfig, log: Log): void {
  if (domains.size === 0) log.warn('no rate limit files: nothing is limited')
}
