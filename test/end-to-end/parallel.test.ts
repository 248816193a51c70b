import { expect, test } from 'vitest'
import { patient } from './durations.js'
import { chat, eventually, startTestStack } from './stack.js'
import type { Answer } from './stack.js'

const DAY_LIMIT_TOKENS = 8500

// A request reserves its 950 tokens of output and some 50 of input: eight fit into the day, nine do not.
const stack = await startTestStack((policy) => {
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
}, patient)
const { nodeA } = stack
const request = { caller: 'alice', body: chat({ max_tokens: 950 }) }

function statusesOf(answers: readonly Answer[]): Readonly<Record<number, number>> {
  const counts: Record<number, number> = {}
  for (const { status } of answers) counts[status] = (counts[status] ?? 0) + 1
  return counts
}

test('64 parallel requests against a quota that fits 8: exactly 8 pass, and refunds make room for exactly as many as fit', async () => {
  nodeA.behave({ hold: true })
  const refused: Answer[] = []
  const sent = Promise.all(
    Array.from({ length: 64 }, async () => {
      const answer = await stack.send(request)
      if (answer.status !== 200) refused.push(answer)
      return answer
    }),
  )
  // No answer is given before all 64 are decided: 8 wait at the node, 56 were told no.
  await eventually(() => {
    expect(nodeA.served.length + refused.length).toBe(64)
  })
  expect(nodeA.served).toHaveLength(8)
  expect(statusesOf(refused)).toEqual({ 429: 56 })
  const full = await stack.usage('alice', 'tenant-day')
  const reservedEach = full.reserved / 8
  expect(reservedEach).toBeGreaterThan(DAY_LIMIT_TOKENS / 9)
  expect(full.reserved).toBeLessThanOrEqual(DAY_LIMIT_TOKENS)

  nodeA.release()
  expect(statusesOf(await sent)).toEqual({ 200: 8, 429: 56 })
  const used = nodeA.served.reduce(
    (sum, { generation }) => sum + generation.inputTokens + generation.outputTokens,
    0,
  )
  const settled = await stack.settledUsage('alice', 'tenant-day')
  expect(settled).toMatchObject({ spent: used, debt: 0 })

  // The ninth passes, and so do others, while what was paid back has room for a whole reservation.
  const room = Math.floor((DAY_LIMIT_TOKENS - used) / reservedEach)
  nodeA.behave({ hold: true })
  const later: Promise<Answer>[] = []
  for (let count = 0; count < room; count++) {
    const served = stack.nextServed(nodeA)
    later.push(stack.send(request))
    await served
  }
  const tooMany = await stack.send(request)
  expect(tooMany.status).toBe(429)
  nodeA.release()
  expect(statusesOf(await Promise.all(later))).toEqual({ 200: room })
})
