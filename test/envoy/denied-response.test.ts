import fc from 'fast-check'
import { describe, expect, it, test } from 'vitest'
import type { Decision } from '../../src/decision.js'
import { denialStatus, deny } from '../../src/denial.js'
import type { Denial, Reason } from '../../src/denial.js'
import { toCheckResponse } from '../../src/envoy/check-response.js'
import { maxDeniedBodyBytes } from '../../src/envoy/denied-response.js'
import { authorizationService } from '../../src/envoy/protos.js'
import type { CheckResponse, DeniedHttpResponse, StructValue } from '../../src/envoy/wire.js'
import { dialectNamed, dialects } from '../../src/llm/dialects.js'
import { decision } from './decision.js'
import { runs } from '../runs.js'

type Denied = CheckResponse & { readonly deniedResponse: DeniedHttpResponse }

function answer(denial: Denial, changes: Partial<Decision> = {}): Denied {
  const response = toCheckResponse(decision({ ...changes, verdict: denial }))
  if (!('deniedResponse' in response)) throw new Error('not a denial')
  return response
}

function headersOf(denial: Denial, changes: Partial<Decision> = {}): Record<string, string> {
  const { headers } = answer(denial, changes).deniedResponse
  return Object.fromEntries(headers.map(({ header }) => [header.key, header.value]))
}

const reasons = Object.keys(denialStatus) as Reason[]

describe('a refusal', () => {
  test.each(reasons)(
    '%s has an explicit code, its status, and a JSON body in every dialect',
    (reason) => {
      for (const dialect of [...dialects, undefined]) {
        const response = answer(deny(reason, 'Do this instead.'), { dialect })
        expect(response.status.code).toBeGreaterThan(0)
        expect(response).not.toHaveProperty('okResponse')
        expect(response.deniedResponse.status.code).toBe(denialStatus[reason])
        expect(response.deniedResponse.body).toContain('Do this instead.')
        expect(JSON.parse(response.deniedResponse.body)).toBeTypeOf('object')
        expect(headersOf(deny(reason, 'Do this instead.'), { dialect })).toMatchObject({
          'content-type': 'application/json',
          'cache-control': 'no-store',
          'x-tollgate-audit-id': 'audit-1',
        })
      }
    },
  )

  test.each([
    ['json_invalid', 3],
    ['credential_missing', 16],
    ['model_not_granted', 7],
    ['route_unknown', 5],
    ['method_not_allowed', 12],
    ['body_too_large', 3],
    ['content_type_unsupported', 3],
    ['quota_exhausted', 8],
  ] as const)('%s is gRPC code %d', (reason, code) => {
    expect(answer(deny(reason, 'No.')).status.code).toBe(code)
  })

  it('is never an allow on the wire', () => {
    for (const reason of reasons) {
      const bytes = authorizationService.Check.responseSerialize(answer(deny(reason, 'No.')))
      const decoded = authorizationService.Check.responseDeserialize(bytes)
      expect(decoded.status.code).not.toBe(0)
      expect(decoded).toHaveProperty('deniedResponse')
    }
  })

  it('has the shape of the caller\u2019s dialect, and OpenAI\u2019s where none is known', () => {
    const denial = deny('request_invalid', 'Send messages.', { param: 'messages' })
    const error = {
      status: 400,
      code: 'request_invalid',
      message: 'Send messages.',
      param: 'messages',
    }
    for (const dialect of dialects) {
      expect(answer(denial, { dialect }).deniedResponse.body).toBe(dialect.errorBody(error))
    }
    expect(answer(denial, { dialect: undefined }).deniedResponse.body).toBe(
      dialectNamed('openai').errorBody(error),
    )
  })

  it('never has a body over 4 KiB, nor a header value that ends its line', () => {
    const text = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 6000, size: 'max' }),
      fc.constantFrom('\0'.repeat(9000), '"'.repeat(5000), '\ud83d\ude00'.repeat(3000), '\ud800'),
    )
    fc.assert(
      fc.property(fc.constantFrom(...reasons), text, text, (reason, message, param) => {
        const { deniedResponse } = answer(deny(reason, message, { param }))
        expect(Buffer.byteLength(deniedResponse.body)).toBeLessThanOrEqual(maxDeniedBodyBytes)
        expect(JSON.parse(deniedResponse.body)).toBeTypeOf('object')
        for (const { header } of deniedResponse.headers)
          expect(header.value).toMatch(/^[\x20-\x7e]+$/)
      }),
      { numRuns: runs(100) },
    )
  })
})

describe('the challenge of a 401', () => {
  it('names the scheme alone to a caller that sent no credential', () => {
    expect(headersOf(deny('credential_missing', 'Send one.'))['www-authenticate']).toBe(
      'Bearer realm="tollgate"',
    )
  })

  it('says what is wrong with the credential that was sent', () => {
    expect(headersOf(deny('credential_expired', 'Get a new one.'))['www-authenticate']).toBe(
      'Bearer realm="tollgate", error="invalid_token", error_description="Get a new one."',
    )
  })

  it('says that two credentials are a fault of the request', () => {
    expect(headersOf(deny('credential_ambiguous', 'Send one.'))['www-authenticate']).toBe(
      'Bearer realm="tollgate", error="invalid_request", error_description="Send one."',
    )
  })

  it('cannot be ended by a message', () => {
    const value = headersOf(deny('credential_invalid', 'a", realm="b\\\r\nc: \u00e9'))[
      'www-authenticate'
    ]
    expect(value).toBe(
      'Bearer realm="tollgate", error="invalid_token", error_description="a\', realm=\'b???c: ?"',
    )
  })

  it('stands on every 401 and on nothing else', () => {
    for (const reason of reasons) {
      const has = 'www-authenticate' in headersOf(deny(reason, 'No.'))
      expect(`${reason} ${String(has)}`).toBe(`${reason} ${String(denialStatus[reason] === 401)}`)
    }
  })
})

describe('whether to come back', () => {
  const exhausted = (retryAfterMs: number): Record<string, string> =>
    headersOf(deny('quota_exhausted', 'Later.', { retryAfterMs, quota: 'user-minute' }))

  test.each([
    [1, '1', undefined],
    [999, '1', undefined],
    [1000, '1', undefined],
    [1001, '2', undefined],
    [60_000, '60', undefined],
    [60_001, '60', 'false'],
    [86_400_000, '60', 'false'],
  ])('after %d ms: retry-after %s, x-should-retry %s', (retryAfterMs, seconds, should) => {
    const headers = exhausted(retryAfterMs)
    expect(headers['retry-after']).toBe(seconds)
    expect(headers['x-should-retry']).toBe(should)
  })

  it('is said to a caller with too many prompts at once', () => {
    const denial = deny('too_many_prompts', 'Later.', { retryAfterMs: 1000 })
    expect(headersOf(denial)['retry-after']).toBe('1')
  })

  it('is 60 s where no time is known', () => {
    expect(headersOf(deny('quota_exhausted', 'Later.'))['retry-after']).toBe('60')
  })

  it('is never for a request that no quota can hold', () => {
    const headers = headersOf(deny('request_exceeds_quota', 'Ask for less.'))
    expect(headers['x-should-retry']).toBe('false')
    expect(headers).not.toHaveProperty('retry-after')
  })

  it('is said of a quota that cannot be asked: soon, and with any client', () => {
    const headers = headersOf(deny('quota_store_unavailable', 'Later.', { retryAfterMs: 2000 }))
    expect(headers['retry-after']).toBe('2')
    expect(headers).not.toHaveProperty('x-should-retry')
  })

  it('is said of nothing else', () => {
    for (const reason of reasons) {
      if ([429, 503].includes(denialStatus[reason]) || reason === 'request_exceeds_quota') continue
      const headers = headersOf(deny(reason, 'No.'))
      expect(headers).not.toHaveProperty('retry-after')
      expect(headers).not.toHaveProperty('x-should-retry')
    }
  })
})

describe('a 405', () => {
  it('names the methods that the path takes', () => {
    const denial = deny('method_not_allowed', 'Use GET.', { allowedMethods: ['GET', 'HEAD'] })
    expect(headersOf(denial)['allow']).toBe('GET, HEAD')
  })
})

describe('what Envoy keeps of a refusal', () => {
  const fieldsOf = (of: Denied): Readonly<Record<string, StructValue>> => of.dynamicMetadata.fields

  it('is who was refused and why', () => {
    const denial = deny('quota_exhausted', 'Later.', { quota: 'user-minute', retryAfterMs: 5 })
    expect(fieldsOf(answer(denial))).toEqual({
      audit_id: { stringValue: 'audit-1' },
      decision: { stringValue: 'deny' },
      reason: { stringValue: 'quota_exhausted' },
      quota: { stringValue: 'user-minute' },
      tenant: { stringValue: 'acme' },
      subject: { stringValue: 'ann' },
      client: { stringValue: 'notebook' },
      model: { stringValue: 'llama-3.3-70b' },
    })
  })

  it('is only the reason for a caller that is not known', () => {
    const denial = deny('credential_invalid', 'No.', { detail: 'signature' })
    expect(fieldsOf(answer(denial, { principal: undefined, model: undefined }))).toEqual({
      audit_id: { stringValue: 'audit-1' },
      decision: { stringValue: 'deny' },
      reason: { stringValue: 'credential_invalid' },
    })
  })

  it('never says the operator\u2019s detail to anyone', () => {
    const denial = deny('credential_invalid', 'No.', { detail: 'for the log alone' })
    expect(JSON.stringify(answer(denial))).not.toContain('for the log alone')
  })
})
