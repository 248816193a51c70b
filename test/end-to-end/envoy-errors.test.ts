import { describe, expect, test } from 'vitest'
import { patient } from './durations.js'
import { dialects } from './error-bodies.js'
import { chat, lastServed, startTestStack } from './stack.js'

const BODY_CAP_BYTES = 8_388_608

// Room for a prompt of 8 MiB, and patience with the machine that reads it.
const stack = await startTestStack((policy) => {
  policy.limits['examinationTimeoutMs'] = 20_000
  for (const model of policy.models) model['contextTokens'] = 100_000_000
  for (const quota of policy.quotas) if (quota['unit'] === 'tokens') quota['limit'] = 1e9
}, patient)

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

  test('a whole answer larger than any buffer, of unannounced length, is 500, and is charged: it was generated', async () => {
    stack.nodeA.behave({ paddingBytes: 9_000_000, chunked: true })
    const answer = await stack.send({ path, caller: 'alice', body: chat() })
    stack.nodeA.behave({})
    expect(answer.status).toBe(500)
    expect(JSON.parse(answer.text)).toEqual(error('upstream_failed', types[500]))
    // Its headers are Envoy's own, so the record is found by the request id.
    expect(answer.headers.get('x-tollgate-audit-id')).toBeNull()
    const { audit_id: auditId, details } = (await stack.accessLogOf(answer)).members
    expect(details).toBe('response_payload_too_large')
    const headers = new Headers({ 'x-tollgate-audit-id': String(auditId) })
    const { outcome, reservedTokens, inputTokens, outputTokens } = await stack.endOf({ headers })
    expect({ outcome, outputTokens }).toEqual({ outcome: 'estimated', outputTokens: 200 })
    expect(inputTokens).toBe(reservedTokens - 200)
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
