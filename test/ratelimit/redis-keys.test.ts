import { describe, expect, test } from 'vitest'
import { systemClock } from '../../src/clock.js'
import { createRedisCounters } from '../../src/ratelimit/redis-counters.js'
import { openStore } from '../../src/store/store.js'
import { ask } from './asks.js'
import { open, opened, redis } from './counter-servers.js'

/** Some of it has passed since it was set. */
function expectAbout(ttlMs: number, seconds: number): void {
  expect(ttlMs).toBeGreaterThan((seconds - 20) * 1000)
  expect(ttlMs).toBeLessThanOrEqual(seconds * 1000)
}

describe('keys', () => {
  test('say nothing of the request, and live on one node of a cluster for each domain', async () => {
    const { counters } = open({ cacheKeyPrefix: 'p:' })
    await counters.count('secret-domain', [ask('secret-a'), ask('secret-b')])
    const keys = await redis.client.keys('*')
    expect(keys).toHaveLength(2)
    for (const key of keys) {
      expect(key).toMatch(/^p:tg2:l:\{[\w-]{22}\}[\w-]{22}$/)
      expect(await redis.client.get(key)).toMatch(/^\d+ 1$/)
    }
    expect(new Set(keys.map((key) => key.slice(0, 32))).size).toBe(1)
  })

  test.each([
    ['hour', 1_000_000, 'domain_key4_value4_997200', 3600],
    ['second', 1234, 'domain_key4_value4_1234', 1],
    ['month', 2_592_001, 'domain_key4_value4_2592000', 2_592_000],
  ] as const)("S71: the peer's key for a %s", async (unit, seconds, key, ttlSeconds) => {
    const store = openStore(redis.address, { clock: systemClock, random: Math.random })
    const counters = createRedisCounters({
      store,
      clock: { ...systemClock, nowEpochMs: () => seconds * 1000 + 999 },
      random: () => 0.5,
      ...{ mode: 'shared', stopWhenOver: false, keyPrefix: 'p:', timeoutMs: 5000 },
      expirationJitterMaxSeconds: 100,
    })
    opened.push(counters)
    await counters.count('domain', [ask('value4', unit, 3)])
    const pipeline = redis.client.multi().get(`p:${key}`).pttl(`p:${key}`)
    const [[, count], [, ttlMs]] = (await pipeline.exec()) as [[null, string], [null, number]]
    expect(count).toBe('3')
    expectAbout(ttlMs, ttlSeconds + 50)
  })

  test.each([
    ['safe', 0, 0],
    ['safe', 0.9999, 299],
    ['shared', 0.9999, 299],
  ] as const)('S71: in mode %s, drawn %f, it is kept %i s longer', async (mode, drawn, longer) => {
    const { counters } = open({ mode }, { random: () => drawn })
    await counters.count('d', [ask('a', 'day')])
    const [key = ''] = await redis.client.keys('*')
    expectAbout(await redis.client.pttl(key), 86_400 + longer)
  })

  test('in mode safe are spelled as this schema of keys began, or what was counted would be found nowhere', async () => {
    const { counters } = open({})
    await counters.count('d', [ask('a', 'day')])
    expect(await redis.client.keys('*')).toEqual([
      'tg2:l:{RljWq7uvd0jBcu1aPgA82w}zczD_rI0xOPRwQkmHNzdLQ',
    ])
  })

  test('S71: the peer writes an empty value as one, and so do we', async () => {
    const { counters } = open({ mode: 'shared' })
    await counters.count('d', [
      { ...ask(''), counted: [{ key: 'k', value: '' }] },
      {
        ...ask(''),
        counted: [
          { key: 'k', value: '' },
          { key: 'l', value: 'v' },
        ],
      },
    ])
    expect((await redis.client.keys('*')).sort()).toEqual([
      expect.stringMatching(/^d_k__\d+$/),
      expect.stringMatching(/^d_k__l_v_\d+$/),
    ])
  })

  test('S78: two that the peer spells alike are one counter in mode shared alone', async () => {
    const alike = [
      { ...ask(''), counted: [{ key: 'a', value: 'b_c' }] },
      { ...ask(''), counted: [{ key: 'a_b', value: 'c' }] },
    ]
    for (const [mode, counts] of [
      ['shared', [1, 2]],
      ['safe', [1, 1]],
    ] as const) {
      await redis.client.flushall()
      const { counters } = open({ mode })
      expect((await counters.count('d', alike)).map(({ after }) => after)).toEqual(counts)
      expect(await redis.client.keys('*')).toHaveLength(mode === 'shared' ? 1 : 2)
    }
  })

  test('where a key, a value or an entry ends, decides the key', async () => {
    const { counters } = open()
    const counted = [
      [['a', 'bc']],
      [['ab', 'c']],
      [
        ['k', 'v'],
        ['a', 'b'],
      ],
      [['k', 'v1:ab']],
      [['k1:va', 'b']],
    ].map((entries) => entries.map(([key = '', value = '']) => ({ key, value })))
    await counters.count(
      'd',
      counted.map((entries) => ({ ...ask(''), counted: entries })),
    )
    expect(await redis.client.keys('*')).toHaveLength(counted.length)
  })

  test.each(['safe', 'shared'] as const)(
    'S71: in mode %s each hit begins the time for which it is kept',
    async (mode) => {
      const { counters } = open({ mode })
      await counters.count('d', [ask('a', 'month')])
      const [key = ''] = await redis.client.keys('*')
      await redis.client.expire(key, 60)
      await counters.count('d', [ask('a', 'month')])
      expectAbout(await redis.client.pttl(key), 2_592_000)
    },
  )

  test('each unit of a descriptor has its own', async () => {
    const { counters } = open()
    const asks = [ask('a', 'day'), ask('a', 'hour'), ask('a', 'day'), ask('a', 'hour')]
    expect((await counters.count('d', asks)).map(({ after }) => after)).toEqual([1, 1, 2, 2])
    expect(await redis.client.keys('*')).toHaveLength(2)
  })

  test('a counter that everything was given back to is gone', async () => {
    const { counters } = open()
    await counters.count('d', [ask('a')])
    await counters.count('d', [{ ...ask('a'), isRefund: true }])
    expect(await redis.client.keys('*')).toEqual([])
  })
})

// By half an hour in one direction or the other it is in another hour than Redis.
test.each([-30, 30])('mode safe: a clock that is %i minutes off decides nothing', async (off) => {
  const clock = { ...systemClock, nowEpochMs: () => systemClock.nowEpochMs() + off * 60_000 }
  const { counters } = open({}, { clock })
  const redisMs = async (): Promise<number> => Number((await redis.client.time())[0]) * 1000
  const startOf = (ms: number): number => Math.floor(ms / 3_600_000) * 3600
  const earliestMs = await redisMs()
  const [count] = await counters.count('d', [ask('a', 'hour')])
  const latestMs = (await redisMs()) + 1000
  const [key = ''] = await redis.client.keys('*')
  const startSeconds = Number((await redis.client.get(key))?.split(' ')[0])
  expect([startOf(earliestMs), startOf(latestMs)]).toContain(startSeconds)
  const endMs = (startSeconds + 3600) * 1000
  expect(endMs - (count?.resetMs ?? 0)).toBeGreaterThanOrEqual(earliestMs)
  expect(endMs - (count?.resetMs ?? 0)).toBeLessThanOrEqual(latestMs)
})
