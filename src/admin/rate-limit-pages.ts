import { requestFromJson, responseToJson } from '../envoy/rate-limit-json.js'
import type { RateLimitService } from '../envoy/rate-limit-service.js'
import { reportDomain } from '../envoy/report.js'
import { InvalidCallError } from '../errors.js'
import { dumpConfig } from '../ratelimit/dump.js'
import type { RateLimitConfig } from '../ratelimit/tree.js'
import { text } from './http.js'
import type { Answer, Route } from './http.js'

export interface RateLimitPages {
  readonly service: RateLimitService
  readonly config: () => RateLimitConfig | undefined
  /** May calls be sent here? */
  readonly isServing: () => boolean
  /** A call failed. */
  readonly onFailure: (error: unknown) => void
}

/** Paths and answers are those of envoyproxy/ratelimit, which has them on two ports. */
export function rateLimitRoutes(pages: RateLimitPages): Readonly<Record<string, Route>> {
  return {
    '/json': { post: (body) => rateLimitJson(body, pages) },
    '/rlconfig': () => {
      const config = pages.config()
      return bare(200, config === undefined ? '' : dumpConfig(config))
    },
    '/healthcheck': () => (pages.isServing() ? bare(200, 'OK') : bare(500, '')),
  }
}

/** Without the newline of `text`, which envoyproxy/ratelimit does not write. */
function bare(status: number, body: string): Answer {
  return { status, contentType: 'text/plain; charset=utf-8', body }
}

/** One call of the rate limit service, for who speaks no gRPC. */
async function rateLimitJson(
  body: string,
  { service, onFailure }: RateLimitPages,
): Promise<Answer> {
  try {
    const request = requestFromJson(body)
    if (request.domain === reportDomain) return text(400, 'reports come by gRPC')
    const response = await service.answer(request)
    const status = response.overallCode === 'OK' ? 200 : 429
    return { status, contentType: 'application/json', body: responseToJson(response) }
  } catch (error) {
    onFailure(error)
    // What an InvalidCallError says holds nothing of the call.
    if (error instanceof InvalidCallError) return text(400, error.message)
    return text(503, 'the call failed')
  }
}
