import { Registry } from 'prom-client'
import { beforeEach, expect, test } from 'vitest'
import type { End, Hold } from '../../src/quota/ledger.js'
import { createMemoryLedger } from '../../src/quota/memory/memory-ledger.js'
import { createAccounting, createQuotaUnits } from '../../src/telemetry/quota-metrics.js'
import type { QuotaUnits } from '../../src/telemetry/quota-metrics.js'
import { holdOf, quotaOf } from '../quota/quotas.js'

let registry: Registry
let units: QuotaUnits
beforeEach(() => {
  registry = new Registry()
  units = createQuotaUnits(registry)
})

const minute = quotaOf({ name: 'minute', limit: 1000 })
const requests = quotaOf({ name: 'requests', unit: 'requests' })

/** Every series that is not 0. */
async function counted(): Promise<Record<string, number>> {
  const text = await registry.metrics()
  const series = [
    ...text.matchAll(/^tollgate_\w+\{quota="(.+)",unit="\w+",outcome="(.+)"\} (.+)$/gm),
  ]
  return Object.fromEntries(
    series
      .map(([, quota = '', outcome = '', value]) => [`${quota} ${outcome}`, Number(value)] as const)
      .filter(([, value]) => value !== 0),
  )
}

async function play(holds: readonly Hold[], end: End | 'run out'): Promise<void> {
  const ledger = createMemoryLedger<string>()
  await ledger.reserve({ id: 'a', idempotencyKey: 'a', holds, context: '', leaseMs: 1 }, 1000)
  units.reserved(holds)
  const ended = end === 'run out' ? await ledger.expire(2000) : [await ledger.end('a', end, 1000)]
  for (const one of ended) if (one !== undefined) units.ended(one)
}

test('what is settled is what was used: the rest is refunded, what goes beyond is debt', async () => {
  units.follow([minute, requests])
  await play([holdOf(minute, 100), holdOf(requests, 1)], {
    kind: 'settled',
    inputTokens: 30,
    outputTokens: 0,
  })
  await play([holdOf(minute, 100)], { kind: 'estimated', inputTokens: 130, outputTokens: 5 })
  expect(await counted()).toEqual({
    'minute reserved': 200,
    'minute settled': 30,
    'minute refunded': 70,
    'minute estimated': 135,
    'minute debt': 35,
    'requests reserved': 1,
    'requests settled': 1,
  })
})

test('what is released is refunded, what no report came for stays spent', async () => {
  units.follow([minute])
  await play([holdOf(minute, 100)], { kind: 'released' })
  await play([holdOf(minute, 40)], 'run out')
  expect(await counted()).toEqual({
    'minute reserved': 140,
    'minute released': 100,
    'minute refunded': 100,
    'minute unsettled': 40,
  })
})

test('a quota of no policy in force makes no series, and one that left loses its own', async () => {
  units.follow([minute])
  await play([holdOf(minute, 100), holdOf(requests, 1)], { kind: 'released' })
  expect(Object.keys(await counted()).every((name) => name.startsWith('minute'))).toBe(true)
  units.follow([requests])
  expect(await registry.metrics()).not.toContain('minute')
  units.follow([{ ...requests, unit: 'in_flight' }])
  expect(await registry.metrics()).not.toContain('unit="requests"')
})

test('accounting is as complete as reservations are settled exactly, each counted once', async () => {
  const accounting = createAccounting(registry)
  const ratio = async (): Promise<string | undefined> =>
    /^tollgate_accounting_completeness_ratio (.+)$/m.exec(await registry.metrics())?.[1]
  expect(await ratio()).toBe('1')
  accounting.ended({ outcome: 'unsettled', late: false })
  expect(await ratio()).toBe('0')
  accounting.ended({ outcome: 'settled', late: true })
  expect(await ratio()).toBe('1')
  accounting.ended({ outcome: 'estimated', late: false })
  accounting.ended({ outcome: 'released', late: false })
  accounting.ended({ outcome: 'settled', late: false })
  expect(await ratio()).toBe('0.5')
  expect(await registry.metrics()).toContain('ended_total{outcome="settled"} 2')
})
