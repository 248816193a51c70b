import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { toIncomingRequest } from '../../src/envoy/check-request.js'
import type { ReadCheck } from '../../src/envoy/check-request.js'
import { authorizationService, rateLimitService } from '../../src/envoy/protos.js'
import { toRateLimitResponse } from '../../src/envoy/rate-limit-response.js'
import { toReport } from '../../src/envoy/report.js'

/** What Envoy 1.40.0 sent to `test/fixtures/envoy/record.ts`, byte for byte. */
function recorded(name: string): Buffer {
  return readFileSync(
    fileURLToPath(new URL(`../fixtures/envoy/recorded/${name}.bin`, import.meta.url)),
  )
}

function check(name: string): ReadCheck {
  const message = authorizationService.Check.requestDeserialize(recorded(name))
  return toIncomingRequest(message, new AbortController().signal)
}

const body = '{"model":"llama","messages":[]}'
const uuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

describe('Check as the real Envoy sends it', () => {
  it('has the very bytes with raw headers and a raw body', () => {
    const { request, fault } = check('check-raw')
    expect(fault).toBeUndefined()
    expect(request).toMatchObject({
      method: 'POST',
      path: '/v1/chat/completions',
      requestId: 'chosen-by-the-client',
      peer: 'spiffe://example.org/ns/apps/sa/chat',
    })
    expect(request.streamId).toMatch(/^[0-9]{10,20}$/)
    expect(request.startedAt).toMatch(/^1[0-9]{9}\.[0-9]{9}$/)
    expect([...request.headers]).toEqual([
      ['content-type', ['application/json']],
      ['content-length', [String(body.length)]],
      ['authorization', ['Bearer invented.for.recording']],
      ['x-request-id', ['chosen-by-the-client']],
      ['x-twice', ['one', 'two']],
      ['x-forwarded-proto', ['https']],
      ['x-envoy-auth-partial-body', ['false']],
    ])
    expect(Buffer.from(request.body ?? []).toString()).toBe(body)
  })

  it('keeps bytes that are no UTF-8, in a header that decides nothing and in the body', () => {
    const { request, fault } = check('check-no-utf8')
    expect(fault).toBeUndefined()
    expect(request.headers.get('x-bytes')).toEqual(['caf\u00e9'])
    expect([...(request.body ?? [])]).toEqual([0x7b, 0x22, 0xff, 0x22, 0x7d])
  })

  it('has no body where the caller brought no credential, and content-length is no fault then', () => {
    const { request, fault } = check('check-anonymous')
    expect(fault).toBeUndefined()
    expect(request.body).toBeUndefined()
    expect(request.headers.get('content-length')).toEqual([String(body.length)])
    // Forged names arrive; whoever answers has to remove them.
    expect(request.headers.get('x-tollgate-tenant')).toEqual(['forged'])
    expect(request.headers.get('x_tollgate_pool')).toEqual(['forged'])
    expect(request.requestId).toMatch(uuid)
  })

  it('has joined headers and a text body where the filter is set so', () => {
    const { request, fault } = check('check-joined')
    expect(fault).toBeUndefined()
    expect(request.path).toBe('/v1/chat/completions')
    expect(request.headers.get('authorization')).toEqual(['Bearer invented.for.recording'])
    expect(request.headers.get('x-twice')).toEqual(['one,two'])
    expect(request.headers.get('x-bytes')).toEqual(['caf!'])
    expect(Buffer.from(request.body ?? []).toString()).toBe(body)
    expect(request.peer).toBe('')
  })

  it('is refused when it holds part of the body, whatever the client said of it', () => {
    const { request, fault } = check('check-partial')
    expect(fault).toMatchObject({ reason: 'body_too_large' })
    expect(request.body).toBeUndefined()
  })

  it('carries the context extensions of its route', () => {
    expect(check('check-raw').request.context).toEqual({ route: 'llm' })
  })
})

describe('the report as the real Envoy sends it', () => {
  const read = (name: string) => rateLimitService.ShouldRateLimit.requestDeserialize(recorded(name))

  it('has all figures when the engine reported usage', () => {
    expect(toReport(read('report-usage'))).toEqual({
      reservationId: 'RECORDEDRESERVATION000',
      usage: { inputTokens: 11, outputTokens: 7, cachedTokens: 4, cacheWriteTokens: undefined },
      bytesSent: 96,
      durationMs: 28,
      endStatus: 200,
      attempts: 1,
      upstreamBytesSent: 326,
      upstreamBytesReceived: 251,
    })
  })

  it('lacks the usage that the engine did not report', () => {
    const report = toReport(read('report-no-usage'))
    expect(report.usage).toEqual({
      inputTokens: undefined,
      outputTokens: undefined,
      cachedTokens: undefined,
      cacheWriteTokens: undefined,
    })
    expect(report).toMatchObject({ bytesSent: 2, endStatus: 200, attempts: 1 })
  })

  it('says zero, not nothing, of a request that no engine got', () => {
    expect(toReport(read('report-nothing-sent'))).toMatchObject({
      endStatus: 503,
      upstreamBytesSent: 0,
      upstreamBytesReceived: 0,
    })
  })

  it('is answered with one status per descriptor', () => {
    const request = read('report-usage')
    expect(request.descriptors).toHaveLength(9)
    expect(toRateLimitResponse(request)).toEqual({
      overallCode: 'OK',
      statuses: Array.from({ length: 9 }, () => ({ code: 'OK' })),
    })
  })
})
