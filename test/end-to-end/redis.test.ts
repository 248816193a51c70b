import { expect, test } from 'vitest'
import { decisionsOf } from '../../deploy/demo/sharing.js'
import { demoRedisUrl } from '../../deploy/demo/tollgate.js'
import { patient } from './durations.js'
import { freeSecondPorts } from './free-ports.js'
import { chat, eventually, startTestStack } from './stack.js'
import type { Answer } from './stack.js'

// Two Tollgates on one Redis behind the real Envoy, which asks now one, now the other.

const DAY_LIMIT_TOKENS = 8500

// A request reserves its 950 tokens of output and some 50 of input: eight fit into the day, nine do not.
const stack = await startTestStack(
  (policy) => {
    policy['ledger'] = { kind: 'redis', url: demoRedisUrl, timeoutMs: 5000 }
    policy.quotas = [
      {
        name: 'tenant-day',
        unit: 'tokens',
        limit: DAY_LIMIT_TOKENS,
        window: '24h',
        by: ['tenant'],
      },
      { name: 'user-parallel', unit: 'in_flight', limit: 1000, by: ['tenant', 'subject'] },
    ]
  },
  patient,
  await freeSecondPorts(),
)
const { nodeA, tollgate, second } = stack
if (second === undefined) throw new Error('no second Tollgate')

test('64 parallel requests over two processes against a quota that fits 8: exactly 8 pass, and are settled', async () => {
  nodeA.behave({ hold: true })
  const refused: Answer[] = []
  const sent = Promise.all(
    Array.from({ length: 64 }, async () => {
      const answer = await stack.send({ caller: 'alice', body: chat({ max_tokens: 950 }) })
      if (answer.status !== 200) refused.push(answer)
      return answer
    }),
  )
  // No answer is given before all 64 are decided.
  await eventually(() => {
    expect(nodeA.served.length + refused.length).toBe(64)
  })
  expect(nodeA.served).toHaveLength(8)
  expect(refused.map(({ status }) => status)).toEqual(Array.from({ length: 56 }, () => 429))
  const decided = await Promise.all([tollgate, second].map(decisionsOf))
  expect(Math.min(...decided)).toBeGreaterThan(0)
  expect(decided.reduce((sum, count) => sum + count, 0)).toBe(64)

  nodeA.release()
  await sent
  const used = nodeA.served.reduce(
    (sum, { generation }) => sum + generation.inputTokens + generation.outputTokens,
    0,
  )
  // A report comes to one process or the other, whichever admitted its request.
  expect(await stack.settledUsage('alice', 'tenant-day')).toMatchObject({ spent: used, debt: 0 })
})
