import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import { describe, expect, it, test } from 'vitest'
import { parse } from 'yaml'
import type { Allow, Decision } from '../../src/decision.js'
import type { Finding } from '../../src/inspection/finding.js'
import { toCheckResponse } from '../../src/envoy/check-response.js'
import { encodeValue } from '../../src/envoy/header-option.js'
import { internalHeaders, reservedHeaders } from '../../src/envoy/internal-headers.js'
import { formatDuration } from '../../src/envoy/rate-limit-headers.js'
import type { HeaderValueOption, OkHttpResponse, StructValue } from '../../src/envoy/wire.js'
import { dialectNamed } from '../../src/llm/dialects.js'
import { allow, balance, decision, plainAllow, principal } from './decision.js'
import { runs } from '../runs.js'

function okOf(of: Decision): OkHttpResponse {
  const response = toCheckResponse(of)
  expect(response.status.code).toBe(0)
  if (!('okResponse' in response)) throw new Error('not an allow')
  return response.okResponse
}

function metadataOf(of: Decision): Readonly<Record<string, StructValue>> {
  return toCheckResponse(of).dynamicMetadata.fields
}

function valuesOf(options: readonly HeaderValueOption[]): Record<string, string> {
  return Object.fromEntries(options.map(({ header }) => [header.key, header.value]))
}

function allowed(changes: Partial<Allow>, rest: Partial<Decision> = {}): Decision {
  return decision({ ...rest, verdict: { ...allow, ...changes } })
}

function withHeaders(headers: readonly (readonly [string, string])[]): Decision {
  const map = new Map<string, string[]>()
  for (const [name, value] of headers) map.set(name, [...(map.get(name) ?? []), value])
  return decision({ request: { ...decision().request, headers: map } })
}

/**
 * What Envoy's filter makes of the request: it sets, then removes (its ext_authz.cc), by exact name. `append`
 * decides where it is there, in every version.
 */
function applyToRequest(
  received: readonly (readonly [string, string])[],
  answer: OkHttpResponse,
): readonly (readonly [string, string])[] {
  let headers = received
  for (const { header, append } of answer.headers) {
    if (!append.value) headers = headers.filter(([name]) => name !== header.key)
    headers = [...headers, [header.key, header.value]]
  }
  return headers.filter(([name]) => !answer.headersToRemove.includes(name))
}

/** As a WSGI or CGI server compares names. */
const asVariable = (name: string): string => name.toUpperCase().replace(/[^A-Z0-9]/g, '_')

describe('what the upstream gets', () => {
  it('says who calls, for what, and where it goes', () => {
    expect(valuesOf(okOf(decision()).headers)).toEqual({
      'x-tollgate-pool': 'gpu-a',
      'x-tollgate-audit-id': 'audit-1',
      'x-tollgate-tenant': 'acme',
      'x-tollgate-subject': 'ann',
      'x-tollgate-client': 'notebook',
      'x-tollgate-model': 'llama-3.3-70b',
      'x-gateway-inference-fairness-id': 'acme',
    })
  })

  it('overwrites in both of Envoy\u2019s ways, everywhere', () => {
    const answer = okOf(allowed({ balances: [balance('tokens', 10, 5)] }))
    for (const option of [...answer.headers, ...answer.responseHeadersToAdd]) {
      expect(option.append).toEqual({ value: false })
      expect(option.appendAction).toBe('OVERWRITE_IF_EXISTS_OR_ADD')
    }
  })

  it('never has the reservation, which could end itself', () => {
    const { dynamicMetadata, ...rest } = toCheckResponse(decision())
    expect(JSON.stringify(rest)).not.toContain(allow.reservation?.id)
    expect(dynamicMetadata.fields['reservation']).toEqual({ stringValue: allow.reservation?.id })
  })

  it('asks the filters for a cap and for usage only where the verdict does', () => {
    const plain = okOf(decision())
    expect(plain.headersToRemove).toEqual(
      expect.arrayContaining([internalHeaders.cap, internalHeaders.usage]),
    )
    const both = okOf(allowed({ injectCapTokens: 777, injectStreamUsage: true }))
    expect(valuesOf(both.headers)).toMatchObject({
      'x-tollgate-cap': 'inject',
      'x-tollgate-usage': 'inject',
    })
    expect(both.headersToRemove).not.toContain(internalHeaders.cap)
  })

  it('learns the categories that were flagged, and of no other finding', () => {
    const finding = (category: Finding['category'], action: Finding['action']): Finding => ({
      category,
      rule: 'r',
      provenance: 'user',
      segment: 0,
      span: [0, 1],
      score: 1,
      action,
    })
    const findings = [
      finding('personal_data', 'flag'),
      finding('injection', 'shadow'),
      finding('control_tokens', 'flag'),
      finding('personal_data', 'flag'),
    ]
    const answer = okOf(decision({ findings }))
    expect(valuesOf(answer.headers)['x-tollgate-flags']).toBe('control_tokens,personal_data')
  })

  it('of a public path says only the pool', () => {
    const answer = okOf(
      decision({ dialect: undefined, principal: undefined, model: undefined, verdict: plainAllow }),
    )
    expect(Object.keys(valuesOf(answer.headers))).toEqual([
      'x-tollgate-pool',
      'x-tollgate-audit-id',
    ])
    expect(answer.headersToRemove).toEqual(
      expect.arrayContaining(['x-tollgate-tenant', 'x-tollgate-subject', 'authorization']),
    )
  })
})

describe('the credential of the caller', () => {
  const sent = [
    ['authorization', 'Bearer a'],
    ['x-api-key', 'a'],
    ['proxy-authorization', 'Basic a'],
    ['x_api_key', 'a'],
  ] as const
  const left = (of: Decision): readonly string[] =>
    applyToRequest(sent, okOf(of))
      .map(([name]) => name)
      .filter((name) => name.includes('auth') || name.includes('key'))
      .filter((name) => !name.startsWith('x-tollgate-'))

  it('does not go upstream', () => {
    expect(left(withHeaders(sent))).toEqual([])
  })

  it('goes upstream in the header it was read from, if the policy keeps it', () => {
    const verdict = { ...allow, keepCredential: true }
    expect(left({ ...withHeaders(sent), verdict })).toEqual(['authorization'])
    const anthropic = { ...withHeaders(sent), verdict, dialect: dialectNamed('anthropic') }
    expect(left(anthropic)).toEqual(['authorization', 'x-api-key'])
    const plain = { ...withHeaders(sent), verdict, dialect: undefined }
    expect(left(plain)).toEqual(['authorization', 'x-api-key'])
  })

  it('does not go upstream unread, on a public path', () => {
    const verdict = { ...allow, keepCredential: true }
    expect(left({ ...withHeaders(sent), verdict, principal: undefined })).toEqual([])
  })
})

describe('a client that sends our headers itself', () => {
  it('is removed with every name that folds to one of ours', () => {
    const forged = [
      'x_tollgate_pool',
      'x-tollgate_tenant',
      'x.tollgate.subject',
      'x-tollgate-groups',
      'x_tollgate_anything',
      'x_gateway_inference_objective',
      'x-gateway-destination-endpoint',
      'x_data_parallel_rank',
      'x-llm-d-something-new',
      'proxy_authorization',
    ]
    const received = [...forged, 'x-tollgates', 'x-request-id', 'accept'].map(
      (name) => [name, 'forged'] as const,
    )
    const after = applyToRequest(received, okOf(withHeaders(received)))
    expect(after.filter(([, value]) => value === 'forged').map(([name]) => name)).toEqual([
      'x-tollgates',
      'x-request-id',
      'accept',
    ])
  })

  it('chooses no worker behind Envoy, for a prompt or for its cache', () => {
    const forged = [
      'x-data-parallel-host-port',
      'X_Encoder_Hosts_Ports',
      'x-kv-cache-source-host-port',
      'x-smg-target-worker',
      'x-smg-routing-key',
    ].map((name) => [name.toLowerCase(), '10.0.0.1:80'] as const)
    expect(
      applyToRequest(forged, okOf(withHeaders(forged))).filter(
        ([, value]) => value === '10.0.0.1:80',
      ),
    ).toEqual([])
  })

  it('changes nothing: upstream sees one of each, ours', () => {
    const separator = fc.constantFrom('-', '_', '.')
    const forgedName = fc
      .tuple(
        fc.constantFrom(...reservedHeaders),
        fc.array(separator, { minLength: 8, maxLength: 8 }),
      )
      .map(([name, separators]) => {
        let at = 0
        return name.replace(/-/g, () => separators[at++ % separators.length] ?? '-')
      })
    const name = fc.oneof(
      forgedName,
      fc.constantFrom(...reservedHeaders, 'authorization', 'x-api-key', 'x_api_key'),
      fc.stringMatching(/^x[-_]tollgate[-_][a-z_-]{1,12}$/),
      fc.stringMatching(/^[a-z][a-z0-9_.-]{0,20}$/),
    )
    const received = fc.array(fc.tuple(name, fc.constant('forged')), { maxLength: 40 })
    const verdicts = fc.record({
      cap: fc.boolean(),
      usage: fc.boolean(),
      known: fc.boolean(),
      anthropic: fc.boolean(),
    })
    fc.assert(
      fc.property(received, verdicts, (headers, { cap, usage, known, anthropic }) => {
        const verdict: Allow = {
          ...allow,
          ...(cap ? { injectCapTokens: 5 } : {}),
          injectStreamUsage: usage,
        }
        const answer = okOf({
          ...withHeaders(headers),
          verdict,
          principal: known ? principal : undefined,
          dialect: dialectNamed(anthropic ? 'anthropic' : 'openai'),
        })
        const set = answer.headers.map(({ header }) => header.key)
        expect(new Set(set).size).toBe(set.length)
        expect(answer.headersToRemove.filter((removed) => set.includes(removed))).toEqual([])

        const after = applyToRequest(headers, answer)
        const ours = valuesOf(answer.headers)
        const reserved = [...reservedHeaders, 'authorization', 'x-api-key', 'proxy-authorization']
        const variables = new Set(reserved.map(asVariable))
        for (const [sent, value] of after) {
          const variable = asVariable(sent)
          if (variables.has(variable) || variable.startsWith('X_TOLLGATE_')) {
            expect(`${sent}: ${value}`).toBe(`${sent}: ${ours[sent] ?? 'nothing'}`)
          }
        }
        for (const key of set) {
          expect(after.filter(([sent]) => asVariable(sent) === asVariable(key))).toEqual([
            [key, ours[key]],
          ])
        }
        // Nothing of the client's that is not ours to remove is lost.
        const others = (list: readonly (readonly [string, string])[]) =>
          list.filter(
            ([sent]) => /^[a-w]/.test(sent) && !asVariable(sent).includes('AUTHORIZATION'),
          )
        expect(others(after)).toEqual(others(headers))
      }),
      { numRuns: runs(300) },
    )
  })

  it('is stripped by envoy.yaml of every one of them before the first route match', () => {
    const text = readFileSync(fileURLToPath(new URL('../../envoy.yaml', import.meta.url)), 'utf8')
    const removed: string[] = []
    JSON.stringify(parse(text, { merge: true, maxAliasCount: -1 }), (key, value: unknown) => {
      if (key === 'remove' && typeof value === 'string') removed.push(value)
      return value
    })
    expect(removed).toEqual(expect.arrayContaining([...reservedHeaders]))
  })
})

describe('a header value', () => {
  it('is visible ASCII whatever the claim was, and no two claims share one', () => {
    const text = fc.string({ unit: 'grapheme' })
    fc.assert(
      fc.property(text, text, (one, other) => {
        expect(encodeValue(one)).toMatch(/^[\x21-\x7e]*$/)
        expect(decodeURIComponent(encodeValue(one))).toBe(one)
        if (one !== other) expect(encodeValue(one)).not.toBe(encodeValue(other))
      }),
    )
  })

  test.each([
    ['acme', 'acme'],
    ['a b', 'a%20b'],
    ['50%', '50%25'],
    ['a\r\nx-tollgate-pool: b\0', 'a%0D%0Ax-tollgate-pool:%20b%00'],
    ['\u00fc', '%C3%BC'],
    ['\ud800', '%EF%BF%BD'],
    ['', ''],
  ])('of %j is %s', (text, value) => {
    expect(encodeValue(text)).toBe(value)
  })

  it('never carries a line break of a claim to the upstream', () => {
    const tenant = 'acme\r\nx-tollgate-pool: gpu-b'
    const answer = okOf(decision({ principal: { ...principal, tenant } }))
    for (const { header } of answer.headers) expect(header.value).toMatch(/^[\x21-\x7e]+$/)
  })

  it('that would be empty removes the header instead', () => {
    const answer = okOf(decision({ principal: { ...principal, client: '' } }))
    expect(valuesOf(answer.headers)).not.toHaveProperty('x-tollgate-client')
    expect(answer.headersToRemove).toContain('x-tollgate-client')
  })
})

describe('what the client gets', () => {
  it('is the audit id, and nothing of a quota where none binds', () => {
    expect(valuesOf(okOf(decision()).responseHeadersToAdd)).toEqual({
      'x-tollgate-audit-id': 'audit-1',
    })
  })

  it('is the tightest quota of each unit that refuses', () => {
    const balances = [
      balance('tokens', 1_000_000, 900_000, { resetMs: 60_000 }),
      balance('tokens', 60_000, 58_876, { resetMs: 1124 }),
      balance('tokens', 10, 0, { shadow: true }),
      // Others' spending would be read from it.
      balance('tokens', 20, 1, { by: [] }),
      balance('requests', 20, 19, { resetMs: 3000 }),
      balance('in_flight', 8, 7),
      balance('cost', 25_500_000, 1_234_500, { resetMs: 3000 }),
      balance('output_tokens', 500, 100, { resetMs: 3000 }),
    ]
    expect(valuesOf(okOf(allowed({ balances })).responseHeadersToAdd)).toEqual({
      'x-tollgate-audit-id': 'audit-1',
      'x-ratelimit-limit-tokens': '60000',
      'x-ratelimit-remaining-tokens': '58876',
      'x-ratelimit-reset-tokens': '2s',
      'x-ratelimit-limit-requests': '20',
      'x-ratelimit-remaining-requests': '19',
      'x-ratelimit-reset-requests': '3s',
      'x-ratelimit-limit-cost': '25.50',
      'x-ratelimit-remaining-cost': '1.2345',
      'x-ratelimit-reset-cost': '3s',
      'x-ratelimit-limit-output-tokens': '500',
      'x-ratelimit-remaining-output-tokens': '100',
      'x-ratelimit-reset-output-tokens': '3s',
    })
  })

  test.each([
    [0, '0ms'],
    [-5, '0ms'],
    [0.2, '1ms'],
    [999, '999ms'],
    [999.5, '1s'],
    [1000, '1s'],
    [1001, '2s'],
    [59_001, '1m0s'],
    [360_000, '6m0s'],
    [3_600_000, '1h0m0s'],
    [86_340_500, '23h59m1s'],
    [2_678_400_000, '744h0m0s'],
  ])('of a wait of %d ms reads %s', (durationMs, text) => {
    expect(formatDuration(durationMs)).toBe(text)
  })
})

describe('what Envoy keeps of an allow', () => {
  it('is the reservation, who and what, and how much was reserved', () => {
    expect(metadataOf(decision())).toEqual({
      audit_id: { stringValue: 'audit-1' },
      decision: { stringValue: 'allow' },
      tenant: { stringValue: 'acme' },
      subject: { stringValue: 'ann' },
      client: { stringValue: 'notebook' },
      model: { stringValue: 'llama-3.3-70b' },
      pool: { stringValue: 'gpu-a' },
      reservation: { stringValue: 'AAAAAAAAAAAAAAAAAAAAAA' },
      reserved_tokens: { numberValue: 1124 },
    })
  })

  it('has the cap as a number, since the filter puts it into the body as it is', () => {
    const capped = allowed({ injectCapTokens: 777 })
    expect(metadataOf(capped)['cap']).toEqual({ numberValue: 777 })
  })

  it('has no reservation on a path that names no model, so that no report is sent', () => {
    const fields = metadataOf(decision({ verdict: plainAllow, model: undefined }))
    expect(Object.keys(fields)).toEqual([
      'audit_id',
      'decision',
      'tenant',
      'subject',
      'client',
      'pool',
    ])
  })

  it('has nothing for what is not known, not an empty text', () => {
    const fields = metadataOf(decision({ principal: { ...principal, client: undefined } }))
    expect(fields).not.toHaveProperty('client')
  })
})
