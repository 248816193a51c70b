import { describe, expect, test } from 'vitest'
import type { Behaviour } from '../../deploy/demo/behaviour.js'
import { readerOf, readUntil } from './reading.js'
import { chat, eventually, lastServed, startTestStack } from './stack.js'
import type { SendOptions } from './stack.js'

const stack = await startTestStack((policy) => {
  policy.quotas.push({
    name: 'all-day',
    unit: 'tokens',
    limit: 10_000_000,
    window: '24h',
    by: ['tenant', 'subject'],
  })
  for (const quota of policy.quotas)
    if (quota['name'] === 'user-minute') quota['limit'] = 10_000_000
})
const { nodeA, nodeB } = stack

/** More than any stand-in says, so that no request overruns its reservation: balances are then plain sums. */
const ROOMY = 400

describe('the balance', () => {
  test('equals the sum of what the stand-ins say they used, over every kind of answer', async () => {
    const kinds: readonly SendOptions[] = [
      { body: chat({ max_tokens: ROOMY }) },
      { body: chat({ max_tokens: ROOMY, stream: true }) },
      { body: chat({ max_tokens: undefined }) },
      { body: chat({ max_tokens: ROOMY, n: 2 }) },
      { path: '/v1/messages', body: chat({ max_tokens: ROOMY }) },
      { path: '/v1/messages', body: chat({ max_tokens: ROOMY, stream: true }) },
      {
        path: '/v1/completions',
        body: { model: 'qwen', prompt: 'Once upon a gate', max_tokens: ROOMY },
      },
    ]
    const [fromA, fromB] = [nodeA.served.length, nodeB.served.length]
    for (let round = 0; round < 3; round++) {
      const answers = await Promise.all(
        kinds.map((kind) => stack.send({ caller: 'alice', ...kind })),
      )
      expect(answers.map(({ status }) => status)).toEqual(kinds.map(() => 200))
      for (const answer of answers) {
        expect(await stack.endOf(answer)).toMatchObject({ outcome: 'settled' })
      }
    }
    const said = [...nodeA.served.slice(fromA), ...nodeB.served.slice(fromB)]
    expect(said).toHaveLength(3 * kinds.length)
    const used = said.reduce(
      (sum, { generation }) => sum + generation.inputTokens + generation.outputTokens,
      0,
    )
    expect(await stack.settledUsage('alice', 'all-day')).toMatchObject({
      spent: used,
      reserved: 0,
      debt: 0,
      remaining: 10_000_000 - used,
    })
  })
})

/** Sends a chat to a node that behaves so, and says how its reservation ended. */
async function endOfChat(behaviour: Behaviour, options: SendOptions) {
  nodeA.behave(behaviour)
  const answer = await stack.send({ caller: 'carol', ...options })
  nodeA.behave({})
  return { answer, end: await stack.endOf(answer), said: lastServed(nodeA).generation }
}

describe('a client that leaves', () => {
  test('in mid-stream is charged at least what was generated for it', async () => {
    nodeA.behave({ pauseAfterTokens: 1 })
    const leaving = new AbortController()
    const response = await stack.open({
      caller: 'carol',
      body: chat({ stream: true }),
      signal: leaving.signal,
    })
    await readUntil(readerOf(response), '"content"')
    leaving.abort()
    const { generation } = lastServed(nodeA)
    await eventually(() => {
      expect(generation.clientLeft).toBe(true)
    })
    nodeA.release()
    const end = await stack.endOf(response)
    expect(end.outcome).toBe('estimated')
    expect(end.inputTokens).toBeGreaterThanOrEqual(generation.inputTokens)
    expect(end.outputTokens).toBeGreaterThanOrEqual(generation.outputTokens)
  })

  test('an Anthropic stream before message_delta is charged the exact input, and output enough', async () => {
    nodeA.behave({ pauseAfterTokens: 1 })
    const leaving = new AbortController()
    const response = await stack.open({
      path: '/v1/messages',
      caller: 'carol',
      body: chat({ stream: true }),
      signal: leaving.signal,
    })
    await readUntil(readerOf(response), 'text_delta')
    leaving.abort()
    const { generation } = lastServed(nodeA)
    await eventually(() => {
      expect(generation.clientLeft).toBe(true)
    })
    nodeA.release()
    const end = await stack.endOf(response)
    expect(end.outcome).toBe('estimated')
    expect(end.inputTokens).toBe(generation.inputTokens)
    // message_start says 1: whoever read it would charge that.
    expect(end.outputTokens).toBeGreaterThan(1)
    expect(end.outputTokens).toBeGreaterThanOrEqual(generation.outputTokens)
  })

  test('a request that is not streamed is charged all it reserved: the engine works on', async () => {
    nodeA.behave({ hold: true })
    const before = await stack.settledUsage('carol', 'all-day')
    const leaving = new AbortController()
    const served = stack.nextServed(nodeA)
    const sent = stack.send({ caller: 'carol', body: chat(), signal: leaving.signal })
    const { generation } = await served
    leaving.abort()
    await expect(sent).rejects.toThrow()
    await eventually(() => {
      expect(generation.clientLeft).toBe(true)
    })
    const after = await stack.settledUsage('carol', 'all-day')
    nodeA.release()
    await eventually(() => {
      expect(generation.finished).toBe(true)
    })
    const charged = after.spent + after.debt - before.spent - before.debt
    expect(charged).toBeGreaterThanOrEqual(generation.inputTokens + generation.outputTokens)
    expect(charged).toBeGreaterThanOrEqual(200)
  })
})

describe('an engine', () => {
  test('that takes the request and resets is paid for what it may have generated', async () => {
    const { answer, end, said } = await endOfChat({ resetAfterTokens: 1 }, { body: chat() })
    expect(answer.status).toBe(503)
    expect(end).toMatchObject({ outcome: 'estimated', outputTokens: 200 })
    expect(end.inputTokens).toBeGreaterThanOrEqual(said.inputTokens)
    expect(end.outputTokens).toBeGreaterThanOrEqual(said.outputTokens)
  })

  test('that resets a request was asked once: what may have been generated is not generated again', async () => {
    const served = nodeA.served.length
    await endOfChat({ resetAfterTokens: 1 }, { body: chat() })
    expect(nodeA.served).toHaveLength(served + 1)
  })

  test('that says 503 itself is believed: released, and its own body arrives', async () => {
    const { answer, end } = await endOfChat({ refuseWithStatus: 503 }, { body: chat() })
    expect(answer.status).toBe(503)
    expect(JSON.parse(answer.text)).toMatchObject({ error: { code: 'engine_full' } })
    expect(end).toMatchObject({ outcome: 'released' })
  })

  test('that says 500 is not: it may have worked', async () => {
    const { answer, end } = await endOfChat({ refuseWithStatus: 500 }, { body: chat() })
    expect(answer.status).toBe(500)
    expect(end).toMatchObject({ outcome: 'estimated', outputTokens: 200 })
  })

  test('that refuses the connection did nothing: released', async () => {
    await nodeA.refuse()
    const answer = await stack.send({ caller: 'carol', body: chat() })
    await nodeA.reopen()
    expect(answer.status).toBe(503)
    expect(await stack.endOf(answer)).toMatchObject({ outcome: 'released' })
  })

  test('that says nothing of its usage is settled by estimate', async () => {
    const { answer, end, said } = await endOfChat({ omitUsage: true }, { body: chat() })
    expect(answer.status).toBe(200)
    expect(end).toMatchObject({ outcome: 'estimated', outputTokens: 200 })
    expect(end.inputTokens).toBeGreaterThanOrEqual(said.inputTokens)
  })
})

describe('an answer', () => {
  test('is never compressed: a client that asks for gzip gains nothing', async () => {
    const { answer, end, said } = await endOfChat(
      {},
      { headers: { 'accept-encoding': 'gzip' }, body: chat({ max_tokens: ROOMY }) },
    )
    expect(answer.headers.get('content-encoding')).toBeNull()
    expect(end).toMatchObject({
      outcome: 'settled',
      inputTokens: said.inputTokens,
      outputTokens: said.outputTokens,
    })
  })

  test('of 3 MB is settled exactly, with or without an announced length', async () => {
    for (const chunked of [false, true]) {
      const { answer, end, said } = await endOfChat(
        { paddingBytes: 3_000_000, chunked },
        { body: chat({ max_tokens: ROOMY }) },
      )
      expect(answer.text.length).toBeGreaterThan(3_000_000)
      expect(end).toMatchObject({ outcome: 'settled', outputTokens: said.outputTokens })
    }
  })

  test('larger than any buffer arrives whole, and is settled by estimate', async () => {
    const { answer, end } = await endOfChat({ paddingBytes: 12_000_000 }, { body: chat() })
    expect(answer.status).toBe(200)
    expect(answer.text.length).toBeGreaterThan(12_000_000)
    expect(end).toMatchObject({ outcome: 'estimated', outputTokens: 200 })
  })
})
