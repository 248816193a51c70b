import { rateLimit } from '../ratelimit/rate-limit.js'
import type { RateLimitAnswer, RateLimitParts } from '../ratelimit/rate-limit.js'
import { toRateLimitAnswer } from './rate-limit-answer.js'
import type { RateLimitHeaderNames } from './rate-limit-answer.js'
import { toRateLimitCall } from './rate-limit-request.js'
import type { RateLimitRequest, RateLimitResponse } from './wire.js'

export interface RateLimitServiceParts extends RateLimitParts {
  /** Undefined: the client is told nothing of its limits. */
  readonly headers: RateLimitHeaderNames | undefined
  /** For those who measure. */
  readonly onAnswer: (answer: RateLimitAnswer) => void
}

/** ShouldRateLimit for every domain but Tollgate's own, however it is asked. */
export interface RateLimitService {
  /**
   * @throws InvalidCallError the call cannot be answered
   * @throws DependencyError the counters cannot be asked
   */
  answer(request: RateLimitRequest): Promise<RateLimitResponse>
}

export function createRateLimitService(parts: RateLimitServiceParts): RateLimitService {
  return {
    async answer(request) {
      const isKnown = (domain: string): boolean => parts.config()?.domains.has(domain) ?? false
      const answer = await rateLimit(toRateLimitCall(request, isKnown), parts)
      parts.onAnswer(answer)
      return toRateLimitAnswer(answer, parts.headers)
    },
  }
}
