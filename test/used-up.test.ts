import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Admission } from '../src/admission.js'
import type { AuthorizeParts } from '../src/authorize.js'
import { systemClock } from '../src/clock.js'
import { holdsFor } from '../src/holds.js'
import { createInlineReader } from '../src/prompt/inline.js'
import type { PromptReader } from '../src/prompt/prompt.js'
import { createMemoryLedger } from '../src/quota/memory/memory-ledger.js'
import type { Ledger, Short } from '../src/quota/ledger.js'
import type { Quota } from '../src/quota/quota.js'
import { createRedisLedger } from '../src/quota/redis/redis-ledger.js'
import type { Estimate } from '../src/quota/units.js'
import type { IncomingRequest } from '../src/request.js'
import { openStore } from '../src/store/store.js'
import type { Store } from '../src/store/store.js'
import { refuseUsedUp } from '../src/used-up.js'
import { authorize } from './authorize-alone.js'
import { alice, asAlice, examplePolicy } from './example-policy.js'
import { calendar, quotaOf } from './quota/quotas.js'
import { startRedis } from './redis-server.js'
import type { RedisServer } from './redis-server.js'
import { runs } from './runs.js'

describe('whether the text is counted', () => {
  const bounds = {
    least: { inputTokens: 10, outputTokens: 5 },
    most: { inputTokens: 90, outputTokens: 5 },
  }
  const counted = { inputTokens: 40, outputTokens: 5 }
  const short = (name: string, retryAfterMs: number | undefined): Short => {
    return { kind: 'short', quota: quotaOf({ name }), retryAfterMs, balances: [] }
  }
  const away = { kind: 'unavailable', quota: quotaOf(), why: 'store', fault: 'away' } as const

  /** What is told of the estimates that are looked at, in turn, and which these were. */
  async function refused(...answers: readonly (Short | typeof away | undefined)[]) {
    const looked: Estimate[] = []
    const moments: number[] = []
    const denial = await refuseUsedUp({
      look: async (estimate, nowEpochMs) => {
        moments.push(nowEpochMs)
        return answers[looked.push(estimate) - 1]
      },
      // A clock that is looked at has gone on.
      nowEpochMs: () => moments.length,
      bounds,
      count: async () => counted,
    })
    return { denial, looked, moments }
  }

  test('is not so where nothing is used up', async () => {
    expect(await refused(undefined)).toMatchObject({ denial: undefined, looked: [bounds.least] })
  })

  test.each([3000, undefined])(
    'is not so where the wait is the same whatever it holds: %s',
    async (ms) => {
      const { denial, looked, moments } = await refused(short('one', ms), short('one', ms))
      expect(looked).toEqual([bounds.least, bounds.most])
      // Else the waits would differ by what passed in between.
      expect(moments).toEqual([0, 0])
      expect(denial).toMatchObject({ quota: 'one' })
      expect(denial?.retryAfterMs).toBe(ms)
      expect(denial?.message).not.toContain('It would hold')
    },
  )

  test.each([
    ['the wait', short('one', 4000)],
    ['whether it ever fits', short('one', undefined)],
    ['the quota that makes it wait', short('other', 3000)],
    ['whether it is known', undefined],
  ])('is so where that decides %s', async (_what, most) => {
    const { denial, looked } = await refused(short('one', 3000), most, short('one', 3500))
    expect(looked).toEqual([bounds.least, bounds.most, counted])
    expect(denial).toMatchObject({ quota: 'one', retryAfterMs: 3500 })
    expect(denial?.message).toContain('It would hold 40 input and 5 output tokens.')
  })

  test('does not refuse what has room by then', async () => {
    const { denial } = await refused(short('one', 3000), short('one', 4000), undefined)
    expect(denial).toBeUndefined()
  })

  test.each([[[away]], [[short('one', 3000), away, away]]])(
    'says that a quota cannot be asked at whichever look',
    async (answers) => {
      const { denial } = await refused(...answers)
      expect(denial).toMatchObject({ reason: 'quota_store_unavailable' })
    },
  )
})

const leaseMs = 1_000_000_000
const startMs = Date.parse('2026-03-28T22:59:58.500Z')

let prompts: PromptReader
let redis: RedisServer
let store: Store
beforeAll(async () => {
  prompts = createInlineReader({
    encodings: ['cl100k_base'],
    timeoutMs: 60_000,
    clock: systemClock,
  })
  redis = await startRedis()
  store = openStore(redis.address, { clock: systemClock, random: Math.random })
})
afterAll(async () => {
  await prompts.close()
  store.close()
  await redis.stop()
})

/** Tollgate from Check to the ledger, at a moment that is set. */
function open(ledger: Ledger<Admission>, quotas: readonly Quota[]) {
  const policy = examplePolicy({ quotas, leaseMs })
  const [model] = policy.models
  if (model === undefined) throw new Error('the example has a model')
  let nowMs = startMs
  let ids = 0
  let inspected = 0
  let reserved = 0
  const parts: AuthorizeParts = {
    snapshot: () => ({
      policy,
      authenticator: asAlice,
    }),
    prompts: {
      ...prompts,
      async open(arrived) {
        const prompt = await prompts.open(arrived)
        if ('kind' in prompt) return prompt
        return {
          ...prompt,
          inspect(rules) {
            inspected += 1
            return prompt.inspect(rules)
          },
        }
      },
    },
    ledger: {
      ...ledger,
      reserve(request, now) {
        reserved += 1
        return ledger.reserve(request, now)
      },
    },
    clock: { nowEpochMs: () => nowMs, monotonicMs: () => 0 },
    randomId: () => `id-${String((ids += 1))}`,
  }
  const nobody = { path: '/v1/chat/completions', peer: '' }
  const holdsOf = (amountOf: (quota: Quota, index: number) => number) =>
    holdsFor(policy, alice, model, { inputTokens: 0, outputTokens: 0 }, nobody).map(
      (hold, index) => ({
        ...hold,
        amount: amountOf(hold.quota, index),
      }),
    )

  return {
    at(epochMs: number): void {
      nowMs = epochMs
    },
    now: () => nowMs,
    /** Somebody else's request of the same caller. */
    async spend(amountOf: (quota: Quota, index: number) => number) {
      const id = `other-${String((ids += 1))}`
      const request = { id, idempotencyKey: id, holds: holdsOf(amountOf), leaseMs }
      return ledger.reserve({ ...request, context: {} as Admission }, nowMs)
    },
    left: async () =>
      (
        await ledger.balances(
          holdsOf(() => 0),
          nowMs,
        )
      ).map(({ remaining }) => remaining),
    async ask(words: number, outputTokens: number) {
      const body = JSON.stringify({
        model: 'llama-70b',
        max_tokens: outputTokens,
        messages: [{ role: 'user', content: 'word '.repeat(words) }],
      })
      const request: IncomingRequest = {
        streamId: '',
        startedAt: '',
        requestId: undefined,
        method: 'POST',
        path: nobody.path,
        headers: new Map([
          ['authorization', ['Bearer good']],
          ['content-type', ['application/json']],
        ]),
        body: Buffer.from(body),
        peer: nobody.peer,
        context: {},
        signal: new AbortController().signal,
      }
      ;[inspected, reserved] = [0, 0]
      const { verdict } = await authorize(request, parts)
      return { verdict, isEarly: inspected + reserved === 0 }
    },
  }
}

const ledgers: readonly [string, () => Ledger<Admission>, number][] = [
  ['in memory', () => createMemoryLedger<Admission>(), 100],
  [
    'on Redis',
    () =>
      createRedisLedger<Admission>({
        store,
        clock: systemClock,
        timeoutMs: 60_000,
        moments: 'given',
      }),
    40,
  ],
]

describe.each(ledgers)('what a refusal tells %s before anything is inspected', (_, make, times) => {
  test('is when the whole request fits, not its least', async () => {
    await redis.client.flushall()
    const window = { kind: 'sliding', lengthMs: 64_000 } as const
    const it = open(make(), [quotaOf({ limit: 300, window })])
    await it.spend(() => 145)
    it.at(startMs + 20_000)
    await it.spend(() => 155)
    // Without its text it would hold 140 and fit when the first has left.
    const { verdict, isEarly } = await it.ask(1, 100)
    expect(isEarly).toBe(true)
    expect(verdict).toMatchObject({ kind: 'denied', retryAfterMs: 44_500 })
    const longer = await it.ask(25, 100)
    expect(longer).toMatchObject({ isEarly: true, verdict: { retryAfterMs: 64_500 } })
    it.at(startMs + 20_000 + 64_499)
    expect((await it.ask(25, 100)).verdict.kind).toBe('denied')
    it.at(startMs + 20_000 + 64_500)
    expect((await it.ask(25, 100)).verdict.kind).toBe('allow')
  })

  const windows = fc.oneof(
    fc
      .integer({ min: 1, max: 200_000 })
      .map((lengthMs) => ({ kind: 'sliding', lengthMs }) as const),
    fc.integer({ min: 1, max: 200_000 }).map((lengthMs) => ({ kind: 'fixed', lengthMs }) as const),
    fc.constantFrom(calendar('minute'), calendar('hour'), calendar('day', 'Europe/Berlin')),
  )
  const quota = fc.record({
    unit: fc.constantFrom(
      'tokens' as const,
      'input_tokens' as const,
      'output_tokens' as const,
      'requests' as const,
    ),
    limit: fc.integer({ min: 1, max: 800 }),
    window: windows,
  })

  test('is exact: it fits then, and not a millisecond earlier', async () => {
    let exact = 0
    await fc.assert(
      fc.asyncProperty(
        fc.array(quota, { minLength: 1, maxLength: 4 }),
        fc.array(
          fc.tuple(
            fc.nat({ max: 30_000 }),
            fc.array(fc.nat({ max: 100 }), { minLength: 4, maxLength: 4 }),
          ),
          {
            maxLength: 12,
          },
        ),
        fc.nat({ max: 3 }),
        fc.nat({ max: 300 }),
        fc.integer({ min: 1, max: 300 }),
        async (differences, spendings, which, words, outputTokens) => {
          await redis.client.flushall()
          const quotas = differences.map((difference, index) =>
            quotaOf({ ...difference, name: `quota ${String(index)}` }),
          )
          const it = open(make(), quotas)
          for (const [byMs, amounts] of spendings) {
            it.at(it.now() + byMs)
            await it.spend((_quota, index) => amounts[index] ?? 0)
          }
          const left = await it.left()
          const filled = which % quotas.length
          await it.spend((_quota, index) => (index === filled ? (left[index] ?? 0) : 0))
          const toldAtMs = it.now()
          const { verdict, isEarly } = await it.ask(words, outputTokens)
          if (!isEarly) return
          if (verdict.kind !== 'denied') throw new Error('it was not even reserved')
          if (verdict.retryAfterMs === undefined) {
            expect(verdict.reason).toBe('request_exceeds_quota')
            it.at(toldAtMs + 400_000_000)
            expect((await it.ask(words, outputTokens)).verdict).toMatchObject({
              reason: verdict.reason,
            })
            return
          }
          exact += 1
          it.at(toldAtMs + verdict.retryAfterMs - 1)
          expect((await it.ask(words, outputTokens)).verdict.kind).toBe('denied')
          it.at(toldAtMs + verdict.retryAfterMs)
          expect((await it.ask(words, outputTokens)).verdict.kind).toBe('allow')
        },
      ),
      { numRuns: runs(times) },
    )
    expect(exact).toBeGreaterThan(times / 10)
  })
})
