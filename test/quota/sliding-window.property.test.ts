import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createMemoryLedger } from '../../src/quota/memory/memory-ledger.js'
import { holdOf, quotaOf } from './quotas.js'
import { manyRuns } from '../runs.js'

interface Admission {
  readonly atMs: number
  readonly id: string
  amount: number
}

const limit = 100
const startMs = Date.parse('2026-02-02T00:00:00Z')
const lengthsMs = fc.oneof(
  fc.constantFrom(1, 2, 63, 64, 65, 977, 1000, 60_000, 3_600_000, 30 * 86_400_000),
  fc.integer({ min: 1, max: 100_000 }),
)
/** Steps in parts of the length, so that every length sees full windows and idle ones. */
const tries = fc.array(
  fc.record({
    stepParts: fc.oneof(fc.nat({ max: 20 }), fc.constantFrom(0, 0, 1000, 1015, 1016, 2000)),
    amount: fc.integer({ min: 0, max: 60 }),
    /** What the reservation is settled to at once; undefined: it stays open. */
    actual: fc.option(fc.nat({ max: 60 }), { nil: undefined }),
  }),
  { minLength: 5, maxLength: 100, size: 'max' },
)

function sumWithin(admissions: readonly Admission[], fromMs: number, toMs: number): number {
  return admissions
    .filter(({ atMs }) => fromMs <= atMs && atMs <= toMs)
    .reduce((sum, { amount }) => sum + amount, 0)
}

test('never admits more than the limit in any span of the length, and refuses at most a sub-window early', async () => {
  await fc.assert(
    fc.asyncProperty(lengthsMs, tries, async (lengthMs, all) => {
      const ledger = createMemoryLedger<string>()
      const quota = quotaOf({ limit, window: { kind: 'sliding', lengthMs } })
      const admissions: Admission[] = []
      let nowMs = startMs
      for (const [index, { stepParts, amount, actual }] of all.entries()) {
        nowMs += Math.ceil((stepParts * lengthMs) / 1000)
        const id = String(index)
        const holds = [holdOf(quota, amount)]
        const answer = await ledger.reserve(
          { id, idempotencyKey: id, holds, context: '', leaseMs: 10 ** 12 },
          nowMs,
        )
        if (answer.kind === 'short') {
          const counted = sumWithin(admissions, nowMs - (lengthMs * 65) / 64, nowMs)
          expect(counted + amount, 'refused without need').toBeGreaterThan(limit)
          continue
        }
        const admission = { atMs: nowMs, id, amount }
        admissions.push(admission)
        expect(sumWithin(admissions, nowMs - lengthMs, nowMs)).toBeLessThanOrEqual(limit)
        // Only refunds: what exceeds the reservation is debt, which the exact model proves.
        if (actual === undefined) continue
        admission.amount = Math.min(amount, actual)
        const end = { kind: 'settled', inputTokens: admission.amount, outputTokens: 0 } as const
        await ledger.end(id, end, nowMs)
      }
      for (const { atMs } of admissions) {
        expect(sumWithin(admissions, atMs, atMs + lengthMs)).toBeLessThanOrEqual(limit)
      }
    }),
    { numRuns: manyRuns(200) },
  )
})
