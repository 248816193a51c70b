import fc from 'fast-check'
import { expect, test } from 'vitest'
import { systemClock } from '../../src/clock.js'
import type { Census } from '../../src/quota/failover/processes.js'
import { createShares } from '../../src/quota/failover/shares.js'
import { createRedisProcesses } from '../../src/quota/redis/redis-processes.js'
import { runs } from '../runs.js'
import { createClaimsStore } from './claims-model.js'
import { onRedis } from './on-redis.js'

const on = onRedis()

const startMs = Date.parse('2026-02-02T00:00:00Z')
const which = fc.nat({ max: 4 })
const command = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.record({ do: fc.constant('beat' as const), which, isDeaf: fc.boolean() }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('use' as const), which }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('replace' as const), which }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('leave' as const), which }) },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('wait' as const),
      ms: fc.constantFrom(1, 400, 1000, 11_000, 61_000, 130_000, 200_000_000),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('lose' as const) }) },
)

/** As it is sent: the order of its names says nothing. */
function read({ table, ...census }: Census) {
  const told = table === undefined ? undefined : (JSON.parse(table) as { entries: object })
  return { ...census, entries: told?.entries }
}

test('Redis answers as the model does, whatever its processes say', async () => {
  let granted = 0
  await fc.assert(
    fc.asyncProperty(fc.array(command, { minLength: 10, maxLength: 60 }), async (commands) => {
      await on.redis.client.flushall()
      const model = createClaimsStore()
      let nowMs = startMs
      let made = 0
      const join = () => {
        const processId = `process ${String((made += 1))}`
        const parts = { store: on.store, clock: systemClock, timeoutMs: 5000, processId }
        const processes = createRedisProcesses({ ...parts, momentMs: () => nowMs })
        return { processId, processes, shares: createShares(1 + (made % 2)) }
      }
      const all = [join(), join(), join()]
      const beat = async (at: number, isDeaf = false): Promise<void> => {
        const { processId, processes, shares } = all[at % all.length] ?? join()
        const said = shares.said(nowMs)
        const census = await processes.census(said)
        expect(read(census)).toEqual(read(model.census(processId, said, nowMs)))
        if (census.claims.some((claim) => claim > 0)) granted += 1
        if (!isDeaf) shares.learn(census, nowMs)
      }
      for (const asked of commands) {
        switch (asked.do) {
          case 'beat':
            await beat(asked.which, asked.isDeaf)
            break
          case 'use':
            all[asked.which % all.length]?.shares.used(nowMs)
            break
          case 'replace':
            all[asked.which % all.length] = join()
            break
          case 'leave':
            all[asked.which % all.length]?.shares.leave()
            await beat(asked.which)
            all[asked.which % all.length] = join()
            break
          case 'wait':
            nowMs += asked.ms
            break
          case 'lose':
            await on.redis.client.flushall()
            model.lose()
            break
        }
      }
    }),
    { numRuns: runs(50) },
  )
  // A property of what never happens would hold as well.
  expect(granted).toBeGreaterThan(100)
})
