import { describe, expect, test } from 'vitest'
import { dialects } from '../src/llm/dialects.js'
import { maxDeniedBodyBytes } from '../src/envoy/denied-response.js'
import type { Balance, Short } from '../src/quota/ledger.js'
import type { Quota } from '../src/quota/quota.js'
import { shortageDenial } from '../src/shortage.js'
import { quotaOf } from './quota/quotas.js'

const minute = quotaOf({ name: 'user-minute', limit: 10_000, by: ['tenant', 'subject'] })
const day = quotaOf({ name: 'org-day', limit: 2_000_000 })
const budget = quotaOf({ name: 'budget', unit: 'cost', limit: 25_500_000 })
const parallel = quotaOf({
  name: 'parallel',
  unit: 'in_flight',
  limit: 8,
  window: { kind: 'open' },
})
const estimate = { inputTokens: 120, outputTokens: 500 }

function balanceOf(quota: Quota, remaining: number): Balance {
  return { quota, partitionKey: 'p', spent: 0, reserved: 0, debt: 0, remaining, resetMs: 0 }
}

function short(changes: Partial<Short> = {}): Short {
  return {
    kind: 'short',
    quota: minute,
    retryAfterMs: 11_001,
    balances: [balanceOf(minute, 120), balanceOf(day, 5000), balanceOf(budget, 1_200_000)],
    ...changes,
  }
}

describe('the refusal of a request that does not fit', () => {
  test('names the quota, its limit, what is left at each level and when it will fit', () => {
    expect(shortageDenial(short(), estimate)).toEqual({
      kind: 'denied',
      reason: 'quota_exhausted',
      message:
        'The quota "user-minute" (10000 tokens) has no room for this request. It would hold 120 input and 500 output tokens. Left: user-minute 120 of 10000 tokens, org-day 5000 of 2000000 tokens, budget 1.20 of 25.50 cost. Try again in 12 s.',
      detail: 'quota user-minute, limit 10000 tokens',
      quota: 'user-minute',
      retryAfterMs: 11_001,
    })
  })

  test('tells no size that was not counted', () => {
    const balances = [balanceOf(parallel, 0), balanceOf(day, 5000)]
    const used = short({ quota: parallel, retryAfterMs: 1000, balances })
    expect(shortageDenial(used, undefined).message).toBe(
      'The quota "parallel" (8 in flight) has no room for this request. Left: parallel 0 of 8 in flight, org-day 5000 of 2000000 tokens. Try again in 1 s.',
    )
  })

  test('says when it will never fit', () => {
    const denial = shortageDenial(short({ retryAfterMs: undefined }), estimate)
    expect(denial).toMatchObject({ reason: 'request_exceeds_quota', quota: 'user-minute' })
    expect(denial.message).toMatch(
      /can ever hold\. It would hold 120 input .* Left: user-minute 120 of .* Send less text/,
    )
    expect(denial).not.toHaveProperty('retryAfterMs')
  })

  test('does not tell what is left where other tenants spend too, nor of shadow quotas', () => {
    const shared = [
      quotaOf({ name: 'all', by: [] }),
      quotaOf({ name: 'per-model', by: ['model'] }),
      quotaOf({ name: 'per-subject', by: ['subject'] }),
    ]
    const shadow = quotaOf({ name: 'shadow', shadow: true })
    const balances = [...shared, shadow].map((quota) => balanceOf(quota, 77))
    for (const quota of shared) {
      const { message } = shortageDenial(short({ quota, balances }), estimate)
      expect(message).not.toContain('77')
      expect(message).not.toContain('shadow')
      expect(message).not.toContain('Left')
    }
    const mixed = shortageDenial(short({ balances: [...balances, balanceOf(day, 3)] }), estimate)
    expect(mixed.message).toContain('Left: org-day 3 of 2000000 tokens. Try')
  })

  test('tells a limit that came in a claim to its caller, and writes it nowhere', () => {
    const carried = { ...minute, limit: 4711, limitCarried: true }
    const denial = shortageDenial(short({ quota: carried, balances: [] }), estimate)
    expect(denial.message).toContain('4711')
    expect(denial.detail).toBe('quota user-minute, limit by claim')
  })

  test('fits into an answer, however many quotas bind', () => {
    const most = Number.MAX_SAFE_INTEGER
    const balances = Array.from({ length: 1000 }, (_, index) => {
      const name = `${'q'.repeat(60)}${String(index).padStart(4, '0')}`
      return balanceOf(quotaOf({ name, unit: 'output_tokens', limit: most }), most)
    })
    const [first] = balances
    if (first === undefined) throw new Error('there are many')
    const { reason, message } = shortageDenial(short({ quota: first.quota, balances }), estimate)
    expect(message).toMatch(/ and 984 more quotas\. Try again in 12 s\.$/)
    for (const dialect of dialects) {
      const body = dialect.errorBody({ status: 429, code: reason, message })
      expect(Buffer.byteLength(body)).toBeLessThan(maxDeniedBodyBytes)
    }
  })
})
