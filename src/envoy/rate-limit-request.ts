import { InvalidCallError } from '../errors.js'
import type { RateLimitCall } from '../ratelimit/call.js'
import type { Descriptor, RateLimit, RateLimitUnit } from '../ratelimit/rule.js'
import type { RateLimitDescriptor, RateLimitOverride, RateLimitRequest } from './wire.js'

/**
 * By their numbers. Envoy's descriptor has no week, envoyproxy/ratelimit's answer does: whoever sends its number
 * means it.
 */
const units: Readonly<Record<number, RateLimitUnit>> = {
  1: 'second',
  2: 'minute',
  3: 'hour',
  4: 'day',
  5: 'month',
  6: 'year',
  7: 'week',
}

/**
 * Reads a call of the rate limit service.
 *
 * @param isKnown whether the files have a domain: in another one no limit holds, whatever it says, as with envoyproxy/ratelimit
 * @throws InvalidCallError a limit of which the unit is not known: envoyproxy/ratelimit ends its process at it
 */
export function toRateLimitCall(
  request: RateLimitRequest,
  isKnown: (domain: string) => boolean,
): RateLimitCall {
  const { domain = '', descriptors = [] } = request
  const isDomainKnown = isKnown(domain)
  return {
    domain,
    descriptors: descriptors.map((descriptor) => toDescriptor(descriptor, isDomainKnown)),
    hitsAddend: BigInt(request.hitsAddend ?? 0),
  }
}

function toDescriptor(descriptor: RateLimitDescriptor, isDomainKnown: boolean): Descriptor {
  const { entries = [], limit, hitsAddend, isNegativeHits = false } = descriptor
  return {
    entries: entries.map(({ key = '', value = '' }) => ({ key, value })),
    limit: limit && toLimit(limit, isDomainKnown),
    hitsAddend: hitsAddend && BigInt(hitsAddend.value ?? 0),
    isNegativeHits,
  }
}

function toLimit(
  { requestsPerUnit = 0, unit = 0, unitMultiplier }: RateLimitOverride,
  isDomainKnown: boolean,
): RateLimit | undefined {
  const named = units[unit]
  if (named !== undefined && (unitMultiplier?.value ?? 1) === 1) {
    return { requestsPerUnit, unit: named }
  }
  if (!isDomainKnown) return undefined
  if (named === undefined) throw invalid('a limit with an unknown unit')
  // Passed over, it would let more pass than the request says.
  throw invalid('a limit with a unit_multiplier')
}

function invalid(message: string): InvalidCallError {
  return new InvalidCallError('invalid_argument', message)
}
