import fc from 'fast-check'
import { expect, test } from 'vitest'
import { systemClock } from '../../src/clock.js'
import type { Clock } from '../../src/clock.js'
import { createMemoryLedger } from '../../src/quota/memory/memory-ledger.js'
import { createRedisLedger } from '../../src/quota/redis/redis-ledger.js'
import { manyRuns } from '../runs.js'
import { describeAgreement, rememberEndedMs } from './ledger.property.js'
import { onRedis } from './on-redis.js'
import { holdOf, quotaOf } from './quotas.js'

const on = onRedis()

async function makeLedger(clock: Pick<Clock, 'monotonicMs'> = systemClock) {
  await on.redis.client.flushall()
  const given = { timeoutMs: 5000, moments: 'given', rememberEndedMs } as const
  return createRedisLedger<string>({ store: on.store, clock, ...given })
}

describeAgreement('the Redis ledger', makeLedger, 40)

// Lua has no whole numbers beyond 2^53, where a debt times its limit soon is.
test('the Redis ledger lets a debt of any size fall as the memory ledger does, to the unit', async () => {
  const startMs = Date.parse('2026-02-02T00:00:00Z')
  const large = fc.oneof(
    fc.integer({ min: 1, max: 1000 }),
    fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
    fc.constant(Number.MAX_SAFE_INTEGER),
  )
  const lengthMs = fc.oneof(
    fc.integer({ min: 1, max: 31 * 86_400_000 }),
    fc.constant(31 * 86_400_000),
  )
  const stepMs = fc.oneof(
    fc.integer({ min: 0, max: 1000 }),
    fc.integer({ min: 0, max: 31 * 86_400_000 }),
    fc.integer({ min: 0, max: 1e13 }),
  )
  await fc.assert(
    fc.asyncProperty(
      lengthMs,
      fc.array(fc.tuple(stepMs, large, large), { minLength: 2, maxLength: 8 }),
      async (length, steps) => {
        const ledgers = [createMemoryLedger<string>(), await makeLedger()]
        let atMs = startMs
        for (const [index, [byMs, limit, owed]] of steps.entries()) {
          atMs += byMs
          const hold = holdOf(quotaOf({ limit, window: { kind: 'sliding', lengthMs: length } }), 0)
          const id = String(index)
          const answers = []
          for (const ledger of ledgers) {
            const request = { id, idempotencyKey: id, holds: [hold], context: '', leaseMs: 1e13 }
            const held = await ledger.reserve(request, atMs)
            const end = { kind: 'settled', inputTokens: owed, outputTokens: 0 } as const
            const ended = await ledger.end(id, end, atMs)
            answers.push([held, ended?.charges, await ledger.balances([hold], atMs)])
          }
          expect(answers[1]).toEqual(answers[0])
        }
      },
    ),
    { numRuns: manyRuns(150) },
  )
})
