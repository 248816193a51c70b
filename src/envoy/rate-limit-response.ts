import type { RateLimitRequest, RateLimitResponse } from './wire.js'

/**
 * The answer to a report: taken. Envoy drops it, but a caller that reads it finds an explicit code and one status
 * per descriptor, as the protocol says.
 */
export function toRateLimitResponse(request: RateLimitRequest): RateLimitResponse {
  const statuses = (request.descriptors ?? []).map(() => ({ code: 'OK' }) as const)
  return { overallCode: 'OK', statuses }
}
