import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { toCheckResponse } from '../../src/envoy/check-response.js'
import { encodeCheckResponse } from '../../src/envoy/encode-check-response.js'
import {
  authorizationService,
  authorizationServiceName,
  loadProtos,
} from '../../src/envoy/protos.js'
import type { AuthorizationService } from '../../src/envoy/protos.js'
import type { CheckResponse, HeaderValueOption, StructValue } from '../../src/envoy/wire.js'
import { deny } from '../../src/denial.js'
import { balance, decision, allow } from './decision.js'
import { runs } from '../runs.js'

/** As proto-loader made it, with its own encoder; it knows no message types, as in `protos.ts`. */
const general = (loadProtos()[authorizationServiceName] as unknown as AuthorizationService).Check

function expectSame(response: CheckResponse): void {
  const bytes = encodeCheckResponse(response)
  expect(general.responseDeserialize(bytes)).toEqual(
    general.responseDeserialize(general.responseSerialize(response)),
  )
}

/** Any text that has a UTF-8 form, around the lengths where a length takes one more byte. */
const text = fc.oneof(
  fc.string({ unit: 'grapheme', maxLength: 40 }),
  fc
    .string({ unit: 'binary', maxLength: 200, size: 'max' })
    .map((binary) => Buffer.from(binary, 'utf8').toString('utf8')),
  fc.constantFrom(0, 1, 127, 128, 16_383, 16_384).map((length) => 'a'.repeat(length)),
)

const option: fc.Arbitrary<HeaderValueOption> = fc.record({
  header: fc.record({ key: text, value: text }),
  append: fc.constant({ value: false as const }),
  appendAction: fc.constant('OVERWRITE_IF_EXISTS_OR_ADD' as const),
})
const options = fc.array(option, { maxLength: 5 })

const value: fc.Arbitrary<StructValue> = fc.oneof(
  fc.record({ stringValue: text }),
  fc.record({ numberValue: fc.double({ noNaN: true }) }),
)
const dynamicMetadata = fc.record({ fields: fc.dictionary(text, value, { maxKeys: 5 }) })

const response: fc.Arbitrary<CheckResponse> = fc.oneof(
  fc.record({
    status: fc.constant({ code: 0 as const }),
    okResponse: fc.record({
      headers: options,
      headersToRemove: fc.array(text, { maxLength: 5 }),
      responseHeadersToAdd: options,
    }),
    dynamicMetadata,
  }),
  fc.record({
    status: fc.record({ code: fc.constantFrom(3, 5, 7, 8, 12, 16) }),
    deniedResponse: fc.record({
      status: fc.record({ code: fc.constantFrom(400, 401, 403, 404, 405, 413, 415, 429) }),
      headers: options,
      body: text,
    }),
    dynamicMetadata,
  }),
)

describe('the encoder of CheckResponse', () => {
  it('is the one that the service uses', () => {
    expect(authorizationService.Check.responseSerialize).toBe(encodeCheckResponse)
  })

  it('says the same as the general one', () => {
    fc.assert(fc.property(response, expectSame), { numRuns: runs(200) })
  })

  it('says the same of a real allow and a real refusal', () => {
    const balances = [balance('tokens', 60_000, 5), balance('requests', 60, 5)]
    expectSame(toCheckResponse(decision({ verdict: { ...allow, balances } })))
    expectSame(
      toCheckResponse(decision({ verdict: deny('route_unknown', 'Gr\u00fc\u00df Gott.') })),
    )
  })

  it('writes no text that is no UTF-8, which Envoy could not read', () => {
    const bytes = encodeCheckResponse(toCheckResponse(decision({ model: 'a\ud800' })))
    expect(bytes.includes(Buffer.from('a\ufffd', 'utf8'))).toBe(true)
    expect(bytes.includes(Buffer.from([0xed, 0xa0, 0x80]))).toBe(false)
  })

  it('writes the status of an allow out, rather than leave it to a default', () => {
    // Field 1, two bytes: field 1 of it, 0.
    expect([...encodeCheckResponse(toCheckResponse(decision())).subarray(0, 4)]).toEqual([
      0x0a, 2, 0x08, 0,
    ])
  })
})
