import { Counter } from 'prom-client'
import type { Registry } from 'prom-client'
import { hitsKinds } from '../ratelimit/measure.js'
import type { RateLimitAnswer } from '../ratelimit/rate-limit.js'

const results = ['ok', 'over_limit', 'shadowed'] as const
const loads = ['loaded', 'refused'] as const

/** What the rate limit service did. */
export interface RateLimitMetrics {
  countAnswer(answer: RateLimitAnswer): void
  countLoad(result: (typeof loads)[number]): void
}

/**
 * Rules that have series of their own: `detailed_metric`, `value_to_metric` and limits that requests bring make new
 * names out of requests, and a series is never freed.
 */
const MAX_KEYS = 1000
const MAX_KEY_CHARACTERS = 256
/** Not a name of a rule: that begins with a domain and a dot. */
const OTHER_KEYS = 'other'

export function createRateLimitMetrics(registers: Registry[]): RateLimitMetrics {
  const hits = new Counter({
    name: 'tollgate_rate_limit_hits_total',
    help: 'Hits on rate limit rules, by what became of them; key other: rules beyond the first 1000.',
    labelNames: ['key', 'result'] as const,
    registers,
  })
  const answers = new Counter({
    name: 'tollgate_rate_limit_answers_total',
    help: 'Answers of the rate limit service; shadowed: over the limit, and all is in shadow mode.',
    labelNames: ['result'] as const,
    registers,
  })
  const unknownDomains = new Counter({
    name: 'tollgate_rate_limit_unknown_domains_total',
    help: 'Calls in a domain that no rate limit file has.',
    registers,
  })
  const loadCount = new Counter({
    name: 'tollgate_rate_limit_loads_total',
    help: 'Loads of the rate limit files; refused: the last good ones stay.',
    labelNames: ['result'] as const,
    registers,
  })
  for (const result of results) answers.inc({ result }, 0)
  for (const result of loads) loadCount.inc({ result }, 0)

  const keys = new Set<string>()
  function label(metricKey: string): string {
    if (keys.has(metricKey)) return metricKey
    if (keys.size >= MAX_KEYS || metricKey.length > MAX_KEY_CHARACTERS) return OTHER_KEYS
    keys.add(metricKey)
    return metricKey
  }

  return {
    countAnswer({ isOver, isShadowed, isDomainUnknown, measures }) {
      answers.inc({ result: isOver ? 'over_limit' : isShadowed ? 'shadowed' : 'ok' })
      if (isDomainUnknown) unknownDomains.inc()
      for (const { metricKey, hits: measured } of measures) {
        const key = label(metricKey)
        for (const result of hitsKinds) {
          if (measured[result] > 0) hits.inc({ key, result }, measured[result])
        }
      }
    },
    countLoad: (result) => {
      loadCount.inc({ result })
    },
  }
}
