import fc from 'fast-check'
import { describe, expect, it, test } from 'vitest'
import { toRateLimitResponse } from '../../src/envoy/rate-limit-response.js'
import { reportNames, toReport } from '../../src/envoy/report.js'
import type { RateLimitDescriptor, RateLimitRequest } from '../../src/envoy/wire.js'
import { InvalidCallError } from '../../src/errors.js'

const id = 'AAAAAAAAAAAAAAAAAAAAAA'

function descriptor(report: string, value: number, reservation = id): RateLimitDescriptor {
  return {
    entries: [
      { key: 'reservation', value: reservation },
      { key: 'report', value: report },
    ],
    // As protobufjs decodes it: a wrapper that holds zero is there and empty.
    hitsAddend: value === 0 ? {} : { value },
  }
}

function report(...descriptors: readonly RateLimitDescriptor[]): RateLimitRequest {
  return { domain: 'tollgate', descriptors }
}

describe('a report', () => {
  it('leaves out what Envoy had no figure for', () => {
    expect(toReport(report(descriptor('end', 200)))).toEqual({
      reservationId: id,
      usage: {
        inputTokens: undefined,
        outputTokens: undefined,
        cachedTokens: undefined,
        cacheWriteTokens: undefined,
      },
      bytesSent: undefined,
      durationMs: undefined,
      endStatus: 200,
      attempts: undefined,
      upstreamBytesSent: undefined,
      upstreamBytesReceived: undefined,
    })
  })

  it('tells zero from nothing', () => {
    const { usage } = toReport(report(descriptor('output', 0)))
    expect(usage.outputTokens).toBe(0)
    expect(usage.inputTokens).toBeUndefined()
  })

  it('puts every figure in its own place, in any order', () => {
    fc.assert(
      fc.property(
        fc.dictionary(fc.constantFrom(...reportNames), fc.maxSafeNat()),
        fc.integer(),
        (figures, turn) => {
          const names = Object.keys(figures)
          fc.pre(names.length > 0)
          const at = Math.abs(turn) % names.length
          const turned = [...names.slice(at), ...names.slice(0, at)]
          const read = toReport(
            report(...turned.map((name) => descriptor(name, figures[name] ?? 0))),
          )
          expect({
            input: read.usage.inputTokens,
            output: read.usage.outputTokens,
            cached: read.usage.cachedTokens,
            cache_write: read.usage.cacheWriteTokens,
            bytes: read.bytesSent,
            duration: read.durationMs,
            end: read.endStatus,
            attempts: read.attempts,
            upstream_bytes: read.upstreamBytesSent,
            upstream_received: read.upstreamBytesReceived,
            upstream_duration: read.upstreamDurationMs,
          }).toEqual(figures)
        },
      ),
    )
  })

  it('passes over labels, and names that a newer Envoy file may have', () => {
    const labelled = descriptor('end', 200)
    const flags = { key: 'flags', value: 'DC' }
    const read = toReport(
      report(
        { ...labelled, entries: [flags, ...(labelled.entries ?? [])] },
        descriptor('energy', 9),
      ),
    )
    expect(read.endStatus).toBe(200)
  })

  const refused: readonly (readonly [string, RateLimitRequest, string])[] = [
    ['of another domain', { ...report(descriptor('end', 200)), domain: 'edge' }, 'unknown domain'],
    ['without a domain', { descriptors: [descriptor('end', 200)] }, 'unknown domain'],
    ['without descriptors', report(), 'no descriptor'],
    ['with the field missing', { domain: 'tollgate' }, 'no descriptor'],
    [
      'of two reservations',
      report(descriptor('end', 200), descriptor('input', 5, 'BBBBBBBBBBBBBBBBBBBBBB')),
      'two reservations in one call',
    ],
    [
      'with one figure twice',
      report(descriptor('input', 5), descriptor('input', 6)),
      'report=input twice',
    ],
    [
      'with one figure twice, even the same',
      report(descriptor('input', 5), descriptor('input', 5)),
      'report=input twice',
    ],
    [
      'without a reservation',
      report({ entries: [{ key: 'report', value: 'end' }], hitsAddend: { value: 200 } }),
      'a descriptor without reservation',
    ],
    [
      'with an empty reservation',
      report(descriptor('end', 200, '')),
      'a reservation that is no id of Tollgate',
    ],
    [
      'with a reservation that could be a key',
      report(descriptor('end', 200, 'a:b{c}')),
      'a reservation that is no id of Tollgate',
    ],
    [
      'with a reservation of a megabyte',
      report(descriptor('end', 200, 'A'.repeat(1_048_576))),
      'a reservation that is no id of Tollgate',
    ],
    [
      'that does not say what it reports',
      report({ entries: [{ key: 'reservation', value: id }], hitsAddend: { value: 1 } }),
      'a descriptor without report',
    ],
    ['without entries', report({ hitsAddend: { value: 1 } }), 'a descriptor without reservation'],
    [
      'that names two reservations in one descriptor',
      report({
        entries: [...(descriptor('end', 1).entries ?? []), { key: 'reservation', value: id }],
        hitsAddend: { value: 1 },
      }),
      'reservation twice in a descriptor',
    ],
    [
      'without a figure, which would count as 1',
      report({ entries: descriptor('output', 1).entries ?? [] }),
      'a descriptor without hits_addend',
    ],
    [
      'with a figure above 2^53 - 1',
      report(descriptor('input', 2 ** 53)),
      'hits_addend outside 0 to 2^53 - 1',
    ],
    [
      'with the largest figure of 64 bits',
      report(descriptor('input', 2 ** 64)),
      'hits_addend outside 0 to 2^53 - 1',
    ],
    [
      'with a name that is not known and no figure',
      report(descriptor('end', 1), { entries: descriptor('energy', 1).entries ?? [] }),
      'a descriptor without hits_addend',
    ],
    [
      'with too many descriptors',
      report(...Array.from({ length: 33 }, (_, index) => descriptor(`name-${String(index)}`, 1))),
      'more than 32 descriptors',
    ],
    [
      'with too many entries',
      report({
        entries: Array.from({ length: 9 }, (_, index) => ({ key: `k${String(index)}`, value: '' })),
        hitsAddend: { value: 1 },
      }),
      'more than 8 entries in a descriptor',
    ],
  ]

  test.each(refused)('is refused %s', (_name, request, message) => {
    expect(() => toReport(request)).toThrow(InvalidCallError)
    expect(() => toReport(request)).toThrow(message)
    try {
      toReport(request)
    } catch (error) {
      expect((error as InvalidCallError).fault).toBe('invalid_argument')
      expect((error as InvalidCallError).message).not.toContain(id)
    }
  })
})

describe('the answer to a report', () => {
  it('is OK in words, with one status per descriptor', () => {
    fc.assert(
      fc.property(fc.nat({ max: 40 }), (count) => {
        const request = report(...Array.from({ length: count }, () => descriptor('end', 200)))
        const { overallCode, statuses } = toRateLimitResponse(request)
        expect(overallCode).toBe('OK')
        expect(statuses).toEqual(Array.from({ length: count }, () => ({ code: 'OK' })))
      }),
    )
  })
})
