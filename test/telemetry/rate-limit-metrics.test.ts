import { expect, test } from 'vitest'
import type { HitsKind } from '../../src/ratelimit/measure.js'
import type { RateLimitAnswer } from '../../src/ratelimit/rate-limit.js'
import { createMetrics } from '../../src/telemetry/metrics.js'

const none: Record<HitsKind, number> = {
  total_hits: 0,
  over_limit: 0,
  near_limit: 0,
  over_limit_with_local_cache: 0,
  within_limit: 0,
  shadow_mode: 0,
}

function answer(
  changes: Partial<RateLimitAnswer>,
  ...measured: readonly (readonly [key: string, hits: Partial<Record<HitsKind, number>>])[]
): RateLimitAnswer {
  return {
    isOver: false,
    statuses: [],
    tightest: undefined,
    metadata: undefined,
    isDomainUnknown: false,
    isShadowed: false,
    measures: measured.map(([metricKey, hits]) => ({ metricKey, hits: { ...none, ...hits } })),
    ...changes,
  }
}

async function lines(metrics: ReturnType<typeof createMetrics>): Promise<readonly string[]> {
  const text = await metrics.render()
  return text.split('\n').filter((line) => line.startsWith('tollgate_rate_limit_'))
}

test('answers, hits, unknown domains and loads are counted', async () => {
  const metrics = createMetrics()
  const { rateLimit } = metrics
  rateLimit.countAnswer(answer({}, ['d.k', { total_hits: 3, within_limit: 3 }]))
  rateLimit.countAnswer(answer({ isOver: true }, ['d.k', { total_hits: 2, over_limit: 2 }]))
  rateLimit.countAnswer(answer({ isShadowed: true }))
  rateLimit.countAnswer(answer({ isDomainUnknown: true }))
  rateLimit.countLoad('loaded')
  rateLimit.countLoad('refused')
  rateLimit.countLoad('refused')
  expect(await lines(metrics)).toEqual([
    'tollgate_rate_limit_hits_total{key="d.k",result="total_hits"} 5',
    'tollgate_rate_limit_hits_total{key="d.k",result="within_limit"} 3',
    'tollgate_rate_limit_hits_total{key="d.k",result="over_limit"} 2',
    'tollgate_rate_limit_answers_total{result="ok"} 2',
    'tollgate_rate_limit_answers_total{result="over_limit"} 1',
    'tollgate_rate_limit_answers_total{result="shadowed"} 1',
    'tollgate_rate_limit_unknown_domains_total 1',
    'tollgate_rate_limit_loads_total{result="loaded"} 1',
    'tollgate_rate_limit_loads_total{result="refused"} 2',
  ])
})

test('requests cannot make series without end', async () => {
  const metrics = createMetrics()
  for (let value = 0; value < 1100; value += 1) {
    metrics.rateLimit.countAnswer(answer({}, [`d.k_${String(value)}`, { total_hits: 1 }]))
  }
  metrics.rateLimit.countAnswer(answer({}, ['d.k_0', { total_hits: 1 }]))
  const hits = (await lines(metrics)).filter((line) => line.includes('_hits_total{'))
  expect(hits).toHaveLength(1001)
  expect(hits).toContain('tollgate_rate_limit_hits_total{key="d.k_0",result="total_hits"} 2')
  expect(hits).toContain('tollgate_rate_limit_hits_total{key="other",result="total_hits"} 100')
})

test('a name that is too long is none', async () => {
  const metrics = createMetrics()
  const long = `d.${'k'.repeat(300)}`
  metrics.rateLimit.countAnswer(answer({}, [long, { total_hits: 1 }]))
  expect((await lines(metrics))[0]).toBe(
    'tollgate_rate_limit_hits_total{key="other",result="total_hits"} 1',
  )
})
