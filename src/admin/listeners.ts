import type { ListenAddress } from '../config/address.js'
import type { Metrics } from '../telemetry/metrics.js'
import { listenHttp, text } from './http.js'
import type { HttpListener } from './http.js'
import { rateLimitRoutes } from './rate-limit-pages.js'
import type { RateLimitPages } from './rate-limit-pages.js'
import { usage } from './usage.js'
import type { UsageParts } from './usage.js'

export type { HttpListener } from './http.js'

export interface HealthParts {
  readonly metrics: Metrics
  /** May requests be sent here? */
  readonly ready: () => boolean
}

/** For the pod address: what a probe and a scraper need, and nothing that names a caller. */
export function listenForProbes(address: ListenAddress, parts: HealthParts): Promise<HttpListener> {
  return listenHttp(address, {
    '/metrics': async () => ({
      status: 200,
      contentType: parts.metrics.contentType,
      body: await parts.metrics.render(),
    }),
    // The event loop turned, or nobody would answer.
    '/healthz': () => text(200, 'ok'),
    '/readyz': () => (parts.ready() ? text(200, 'ready') : text(503, 'not ready')),
  })
}

/**
 * For loopback or a Unix socket only: it names callers.
 *
 * @param rateLimits undefined: there is no rate limit service
 */
export function listenForAdmin(
  address: ListenAddress,
  parts: UsageParts,
  rateLimits?: RateLimitPages,
): Promise<HttpListener> {
  return listenHttp(address, {
    '/usage': (query) => usage(query, parts),
    ...(rateLimits === undefined ? {} : rateLimitRoutes(rateLimits)),
  })
}
