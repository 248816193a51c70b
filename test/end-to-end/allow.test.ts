import { readFile } from 'node:fs/promises'
import { describe, expect, test } from 'vitest'
import { readerOf, readUntil } from './reading.js'
import { chat, lastServed, startTestStack } from './stack.js'

const stack = await startTestStack()
const { nodeA, nodeB } = stack

describe('an allowed request', () => {
  test('reaches its GPU node with the identity that Tollgate verified, and without the credential', async () => {
    const answer = await stack.send({ caller: 'alice', body: chat() })

    expect(answer.status).toBe(200)
    const { choices } = JSON.parse(answer.text) as { choices: { message: { content: string } }[] }
    const served = lastServed(nodeA)
    expect(choices[0]?.message.content.trim().split(' ')).toHaveLength(
      served.generation.outputTokens,
    )
    expect(served.headers).toMatchObject({
      'x-tollgate-tenant': 'acme',
      'x-tollgate-subject': 'alice',
      'x-tollgate-client': 'alice',
      'x-tollgate-model': 'llama-3.3-70b',
      'x-tollgate-pool': 'gpu-a',
      'x-tollgate-audit-id': answer.headers.get('x-tollgate-audit-id'),
      'x-gateway-inference-fairness-id': 'acme',
    })
    // The reservation in particular is told to nobody.
    expect(
      Object.keys(served.headers).filter((name) => name.startsWith('x-tollgate-')),
    ).toHaveLength(6)
    for (const name of ['authorization', 'x-api-key', 'accept-encoding', 'x-tollgate-cap']) {
      expect(served.headers).not.toHaveProperty(name)
    }
    expect(JSON.stringify(served)).not.toContain(stack.credentialOf('alice'))
    expect(JSON.parse(served.body)).toEqual(chat())
  })

  test('tells its client where its quotas stand, and nothing of the inside', async () => {
    const before = await stack.settledUsage('alice', 'user-minute')
    const { headers } = await stack.send({ caller: 'alice', body: chat() })

    expect(headers.get('x-ratelimit-limit-tokens')).toBe('20000')
    const remaining = Number(headers.get('x-ratelimit-remaining-tokens'))
    expect(remaining).toBeLessThan(20_000 - before.spent - 200)
    const names = [...headers.keys()]
    expect(names.filter((name) => name.startsWith('x-tollgate-'))).toEqual(['x-tollgate-audit-id'])
    expect(names.filter((name) => name.startsWith('x-envoy-'))).toEqual([])
  })

  test('bears the id of its record, which no client chooses', async () => {
    const chosen = '00000000-0000-4000-8000-000000000000'
    const headers = { 'x-request-id': chosen }
    const answer = await stack.send({ caller: 'alice', body: chat(), headers })
    const requestId = answer.headers.get('x-request-id') ?? 'none'
    expect(requestId).not.toBe(chosen)
    await stack.endOf(answer)
    const records = await readFile(stack.tollgate.auditFile, 'utf8')
    expect(records.split('\n').filter((line) => line.includes(requestId))).toHaveLength(1)
    expect(records).not.toContain(chosen)
  })

  test('is streamed: words arrive while the model still generates', async () => {
    nodeA.behave({ pauseAfterTokens: 1 })
    const response = await stack.open({ caller: 'alice', body: chat({ stream: true }) })
    const reader = readerOf(response)
    const first = await readUntil(reader, '"content"')
    expect(first).toContain('data: ')
    expect(lastServed(nodeA).generation.finished).toBe(false)

    nodeA.release()
    const rest = await readUntil(reader, '[DONE]')
    expect(rest).toContain('"usage"')
    expect(response.headers.get('content-type')).toBe('text/event-stream; charset=utf-8')
  })

  test('asks for usage in the stream where its client did not', async () => {
    await stack.send({ caller: 'alice', body: chat({ stream: true }) })
    const served = lastServed(nodeA)
    expect(JSON.parse(served.body)).toEqual(
      chat({ stream: true, stream_options: { include_usage: true } }),
    )
    expect(served.headers).not.toHaveProperty('x-tollgate-usage')
  })

  test("gets the grant's output cap put in when it names none", async () => {
    const answer = await stack.send({ caller: 'alice', body: chat({ max_tokens: undefined }) })
    expect(answer.status).toBe(200)
    expect(JSON.parse(lastServed(nodeA).body)).toEqual(chat({ max_tokens: 2048 }))
  })

  test('gets cap and usage put in both', async () => {
    const uncapped = chat({ model: 'qwen', stream: true, max_tokens: undefined })
    await stack.send({ caller: 'bob', body: uncapped })
    expect(JSON.parse(lastServed(nodeB).body)).toEqual(
      chat({
        model: 'qwen',
        stream: true,
        max_tokens: 512,
        stream_options: { include_usage: true },
      }),
    )
  })

  test('may bear its credential in x-api-key on the paths of the Anthropic dialect', async () => {
    const answer = await stack.send({
      path: '/v1/messages',
      caller: 'alice',
      credentialHeader: 'x-api-key',
      headers: { 'anthropic-version': '2023-06-01' },
      body: chat(),
    })
    expect(answer.status).toBe(200)
    expect(JSON.parse(answer.text)).toMatchObject({ type: 'message', role: 'assistant' })
    expect(lastServed(nodeA).headers).not.toHaveProperty('x-api-key')
    expect(lastServed(nodeA).headers).toHaveProperty('anthropic-version', '2023-06-01')
  })

  test('is streamed in the Anthropic dialect', async () => {
    const answer = await stack.send({
      path: '/v1/messages',
      caller: 'alice',
      body: chat({ stream: true }),
    })
    expect(answer.text).toMatch(/^event: message_start/)
    expect(answer.text).toContain('event: message_stop')
  })
})

describe('a path that names no model', () => {
  test('lists the models to whom it was granted', async () => {
    const request = { method: 'GET', path: '/v1/models' }
    expect((await stack.send({ ...request, caller: 'alice' })).text).toContain('llama-3.3-70b')
    const asKey = await stack.send({ ...request, caller: 'alice', credentialHeader: 'x-api-key' })
    expect(asKey.text).toContain('llama-3.3-70b')
    expect((await stack.send({ ...request, caller: 'bob' })).status).toBe(403)
    expect((await stack.send(request)).status).toBe(401)
  })

  test('is open to everybody when the policy says public', async () => {
    expect((await stack.send({ method: 'GET', path: '/health' })).status).toBe(200)
  })
})

describe('a browser', () => {
  const preflight = {
    method: 'OPTIONS',
    headers: { 'access-control-request-method': 'POST', origin: 'https://chat.example.com' },
  }

  test('of a listed origin gets its preflight answered without a Check', async () => {
    const checksBefore = await stack.envoyStat('cluster.tollgate.upstream_rq_total')
    const answer = await stack.send(preflight)
    expect(answer.status).toBe(200)
    expect(answer.headers.get('access-control-allow-origin')).toBe('https://chat.example.com')
    expect(answer.headers.get('access-control-allow-headers')).toContain('authorization')
    expect(answer.headers.get('access-control-allow-methods')).toBe('GET, POST')
    expect(await stack.envoyStat('cluster.tollgate.upstream_rq_total')).toBe(checksBefore)
  })

  test('of a listed origin may read a refusal', async () => {
    const { headers } = await stack.send({ headers: { origin: preflight.headers.origin } })
    expect(headers.get('access-control-allow-origin')).toBe('https://chat.example.com')
    expect(headers.get('access-control-expose-headers')).toContain('x-tollgate-audit-id')
  })

  test('of another origin is a request without a credential', async () => {
    const headers = { ...preflight.headers, origin: 'https://elsewhere.example.com' }
    const answer = await stack.send({ ...preflight, headers })
    expect(answer.status).toBeGreaterThanOrEqual(400)
    expect(answer.headers.get('access-control-allow-origin')).toBeNull()
  })
})

describe("Envoy's access log", () => {
  test('says who, what and how much, and never a credential, a prompt or the reservation', async () => {
    const secretWord = 'perihelion'
    const answer = await stack.send({
      path: '/v1/chat/completions?key=in-the-query',
      caller: 'alice',
      body: chat({ messages: [{ role: 'user', content: `Say ${secretWord}.` }] }),
    })
    const end = await stack.endOf(answer)
    const line = await stack.accessLogOf(answer)
    expect(line.members).toMatchObject({
      tenant: 'acme',
      subject: 'alice',
      client: 'alice',
      model: 'llama-3.3-70b',
      pool: 'gpu-a',
      path: '/v1/chat/completions',
      status: 200,
      input_tokens: end.inputTokens,
      output_tokens: end.outputTokens,
      reserved_tokens: end.reservedTokens,
    })
    expect(line.text).not.toContain('reservation"')
    expect(line.text).not.toContain('in-the-query')
    expect(line.text).not.toContain(secretWord)
    expect(line.text).not.toContain(stack.credentialOf('alice').slice(-40))
  })
})
