import { describe, expect, test } from 'vitest'
import { patient, setDurations } from './durations.js'
import { chat, lastServed, startTestStack } from './stack.js'

const BODY_CAP_BYTES = 8_388_608

// Room for a prompt of 8 MiB, and patience with the machine that reads it. Envoy's two clocks are shortened: what
// is tested is what it says when they run out.
const stack = await startTestStack(
  (policy) => {
    policy.limits['examinationTimeoutMs'] = 20_000
    for (const model of policy.models) model['contextTokens'] = 100_000_000
    for (const quota of policy.quotas) if (quota['unit'] === 'tokens') quota['limit'] = 1e9
  },
  (config) =>
    setDurations(patient(config), [
      ['"request_timeout": "60s"', '"request_timeout": "2s"'],
      ['"idle_timeout": "600s"', '"idle_timeout": "2s"'],
    ]),
)

const anyText = expect.any(String) as string

const dialects = [
  {
    name: 'OpenAI',
    path: '/v1/chat/completions',
    error: (code: string, type: string) => ({ error: { code, type, message: anyText } }),
    types: {
      413: 'invalid_request_error',
      408: 'invalid_request_error',
      503: 'server_error',
      504: 'server_error',
    },
  },
  {
    name: 'Anthropic',
    path: '/v1/messages',
    error: (code: string, type: string) => ({
      type: 'error',
      error: { code, type, message: anyText },
    }),
    types: {
      413: 'request_too_large',
      408: 'invalid_request_error',
      503: 'api_error',
      504: 'timeout_error',
    },
  },
] as const

/** A chat of exactly so many bytes. */
function chatOf(bytes: number): string {
  const empty = JSON.stringify(chat({ messages: [{ role: 'user', content: '' }] }))
  const filler = 'to the gate and back '
    .repeat(Math.ceil(bytes / 21))
    .slice(0, bytes - empty.length)
  return JSON.stringify(chat({ messages: [{ role: 'user', content: filler }] }))
}

describe.each(dialects)("Envoy's own errors in the dialect of $name", ({ path, error, types }) => {
  test('a body of exactly the cap reaches the model whole', async () => {
    const body = chatOf(BODY_CAP_BYTES)
    expect(Buffer.byteLength(body)).toBe(BODY_CAP_BYTES)
    const answer = await stack.send({ path, caller: 'alice', body })
    expect(answer.text.slice(0, 300)).toContain('"model"')
    expect(answer.status).toBe(200)
    expect(lastServed(stack.nodeA).body).toBe(body)
  })

  test('a body of one byte more is 413, before anybody reads it', async () => {
    const served = stack.nodeA.served.length
    const answer = await stack.send({ path, caller: 'alice', body: chatOf(BODY_CAP_BYTES + 1) })
    expect(answer.status).toBe(413)
    expect(JSON.parse(answer.text)).toEqual(error('body_too_large', types[413]))
    expect(answer.headers.get('content-type')).toBe('application/json')
    expect(stack.nodeA.served).toHaveLength(served)
  })

  test('an upload that stalls is 408', async () => {
    const stalling = new ReadableStream({
      start(controller) {
        controller.enqueue(Buffer.from('{"model":'))
      },
    })
    const response = await fetch(`${stack.envoy.url}${path}`, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${stack.credentialOf('alice')}`,
        'content-type': 'application/json',
      },
      body: stalling,
      duplex: 'half',
    })
    expect(response.status).toBe(408)
    expect(await response.json()).toEqual(error('request_timeout', types[408]))
  })

  test('a model that stays silent is 504, and is charged: it may be working', async () => {
    stack.nodeA.behave({ hold: true })
    const answer = await stack.send({ path, caller: 'alice', body: chat() })
    stack.nodeA.release()
    expect(answer.status).toBe(504)
    expect(JSON.parse(answer.text)).toEqual(error('upstream_timeout', types[504]))
    expect(await stack.endOf(answer)).toMatchObject({ outcome: 'estimated', outputTokens: 200 })
  })

  test('a pool without a living node is 503, and costs nothing', async () => {
    await stack.nodeA.refuse()
    const answer = await stack.send({ path, caller: 'alice', body: chat() })
    await stack.nodeA.reopen()
    expect(answer.status).toBe(503)
    expect(JSON.parse(answer.text)).toEqual(error('service_unavailable', types[503]))
    expect(await stack.endOf(answer)).toMatchObject({ outcome: 'released' })
  })
})

describe('a path that Envoy refuses', () => {
  test.each(['/v1%2fchat/completions', '/v1/chat%5Ccompletions', '/v1/%00'])('%s', async (path) => {
    const answer = await stack.send({ path, caller: 'alice', body: chat() })
    expect(answer.status).toBe(400)
    expect(JSON.parse(answer.text)).toMatchObject({ error: { type: 'invalid_request_error' } })
  })
})

// Last: there is no Tollgate after it.
describe('without Tollgate', () => {
  test('nothing passes, and both dialects get a JSON body', async () => {
    stack.tollgate.child.signal('SIGKILL')
    await stack.tollgate.child.exited
    const served = stack.nodeA.served.length
    for (const { path, error, types } of dialects) {
      const answer = await stack.send({ path, caller: 'alice', body: chat() })
      expect(answer.status).toBe(503)
      expect(JSON.parse(answer.text)).toEqual(error('service_unavailable', types[503]))
      expect(answer.headers.get('content-type')).toBe('application/json')
    }
    expect(stack.nodeA.served).toHaveLength(served)
  })
})
