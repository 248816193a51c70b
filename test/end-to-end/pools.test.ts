import { expect, test } from 'vitest'
import { internalHeaders } from '../../src/envoy/internal-headers.js'
import { chat, lastServed, startTestStack } from './stack.js'

const stack = await startTestStack((policy) => {
  policy.models.push({
    name: 'orphan-1b',
    tokenizer: 'cl100k_base',
    contextTokens: 8192,
    pool: 'gpu-nowhere',
  })
})
const { nodeA, nodeB } = stack

const forged = Object.fromEntries(
  Object.values(internalHeaders).map((name) => [name, name.endsWith('-pool') ? 'gpu-b' : 'forged']),
)

test('each GPU node is reached only for its own models, whatever pool the client names', async () => {
  const [servedByA, servedByB] = [nodeA.served.length, nodeB.served.length]
  const answers = [
    await stack.send({ caller: 'alice', headers: forged, body: chat({ model: 'llama' }) }),
    await stack.send({
      caller: 'alice',
      headers: { ...forged, [internalHeaders.pool]: 'gpu-a' },
      body: chat({ model: 'qwen' }),
    }),
    // Envoy's own cluster of Tollgate is no pool either.
    await stack.send({
      caller: 'alice',
      headers: { ...forged, [internalHeaders.pool]: 'tollgate' },
      body: chat({ model: 'qwen' }),
    }),
  ]
  expect(answers.map(({ status }) => status)).toEqual([200, 200, 200])
  const models = (node: typeof nodeA, from: number): unknown[] =>
    node.served.slice(from).map(({ headers }) => headers[internalHeaders.model])
  expect(models(nodeA, servedByA)).toEqual(['llama-3.3-70b'])
  expect(models(nodeB, servedByB)).toEqual(['qwen-2.5-7b', 'qwen-2.5-7b'])
})

test('no internal header of the client arrives at a GPU node', async () => {
  const answer = await stack.send({
    caller: 'alice',
    headers: { ...forged, 'x-prefiller-host-port': 'forged', 'x-data-parallel-rank': 'forged' },
    body: chat(),
  })
  expect(answer.status).toBe(200)
  expect(Object.values(lastServed(nodeA).headers)).not.toContain('forged')
})

test('a forged pool header without a credential neither passes nor turns buffering on', async () => {
  const served = nodeA.served.length + nodeB.served.length
  const answer = await stack.send({ headers: forged, body: 'x'.repeat(9 * 1024 * 1024) })
  // Buffered, the body would have been too large: 413.
  expect(answer.status).toBe(401)
  expect(nodeA.served.length + nodeB.served.length).toBe(served)
})

test('a header that a server could take for an internal one is refused', async () => {
  const headers = { x_tollgate_pool: 'gpu-b' }
  const answer = await stack.send({ caller: 'alice', headers, body: chat() })
  expect(answer.status).toBe(400)
  expect(JSON.parse(answer.text)).toMatchObject({ error: { code: 'request_refused' } })
})

test('a pool without a route is 503, and the reservation is released', async () => {
  const before = await stack.settledUsage('alice', 'user-minute')
  const answer = await stack.send({ caller: 'alice', body: chat({ model: 'orphan-1b' }) })
  expect(answer.status).toBe(503)
  expect(JSON.parse(answer.text)).toMatchObject({ error: { code: 'service_unavailable' } })
  expect(await stack.endOf(answer)).toMatchObject({ outcome: 'released' })
  expect(await stack.settledUsage('alice', 'user-minute')).toMatchObject({ spent: before.spent })
})
