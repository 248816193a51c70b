import type { Ask } from '../../src/ratelimit/counters.js'
import type { RateLimitUnit } from '../../src/ratelimit/rule.js'

/** What one descriptor asks of a limit of 10. */
export function ask(value: string, unit: RateLimitUnit = 'year', hits = 1): Ask {
  return {
    counted: [{ key: 'key4', value }],
    limit: { requestsPerUnit: 10, unit },
    hits,
    isRefund: false,
  }
}
