import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test, vi } from 'vitest'
import { systemClock } from '../../src/clock.js'
import { DependencyError } from '../../src/errors.js'
import type { RedisServer } from '../redis-server.js'
import { until } from '../until.js'
import { ask } from './asks.js'
import { expectAskedAgain } from './lost-store.js'
import { open, other, redis, server } from './counter-servers.js'

const directory = mkdtempSync(join(tmpdir(), 'tg-counters-'))
afterAll(() => {
  rmSync(directory, { recursive: true })
})

/** How many commands of its clients a Redis has seen, those of scripts not among them. */
async function commands({ client }: RedisServer, name: string): Promise<number> {
  const found = new RegExp(`cmdstat_${name}:calls=(\\d+)`).exec(await client.info('commandstats'))
  return Number(found?.[1] ?? 0)
}

describe('the store', () => {
  test('is asked once for a call, whatever the number of its descriptors', async () => {
    for (const mode of ['safe', 'shared'] as const) {
      const { counters } = open({ mode, stopWhenOver: true })
      // Loads the script.
      await counters.count('d', [ask('a')])
      await redis.client.config('RESETSTAT')
      await counters.count(
        'd',
        Array.from({ length: 50 }, (_, index) => ask(String(index))),
      )
      expect(await commands(redis, 'evalsha')).toBe(1)
      expect(await commands(redis, 'eval')).toBe(0)
    }
  })

  test.each(['safe', 'shared'] as const)('to ask alone writes nothing, mode %s', async (mode) => {
    const { counters } = open({ mode })
    await counters.count('d', [ask('a')])
    await redis.client.config('RESETSTAT')
    expect((await counters.count('d', [ask('a', 'year', 0)]))[0]?.after).toBe(1)
    for (const write of ['set', 'del', 'incrby', 'expire']) {
      expect(await commands(redis, write)).toBe(0)
    }
  })

  test.each([
    ['safe', / 1$/],
    ['shared', /^1$/],
  ] as const)(
    'S66: mode %s: one that does not answer fails the call in time, and counts nothing later',
    async (mode, once) => {
      const told: string[] = []
      const { counters, isAvailable } = open(
        { mode, store: { ...server(redis), timeoutMs: 50 } },
        { onUnavailable: () => told.push('unavailable') },
      )
      await counters.count('d', [ask('a', 'year', 1)])
      expect(isAvailable()).toBe(true)
      redis.pause()
      try {
        for (let call = 0; call < 6; call += 1) {
          const failed = counters.count('d', [ask('a', 'year', 100)])
          await expect(failed).rejects.toThrow(DependencyError)
          await expect(failed).rejects.toMatchObject({ dependency: 'rate_limit_store' })
        }
        expect(isAvailable()).toBe(false)
        expect(told).toEqual(['unavailable'])
      } finally {
        redis.resume()
      }
      // What was sent is run now, after its deadline.
      await redis.client.ping()
      const [key = ''] = await redis.client.keys('*')
      expect(await redis.client.get(key)).toMatch(once)
    },
  )

  test('S66: the call fails when the clock shows its deadline, neither before nor later', async () => {
    let shownMs: number | undefined
    let looks = 0
    const monotonicMs = (): number => {
      looks += 1
      return shownMs ?? systemClock.monotonicMs()
    }
    const store = { ...server(redis), timeoutMs: 50 }
    const { counters } = open({ store }, { clock: { ...systemClock, monotonicMs } })
    await counters.count('d', [ask('a')])
    redis.pause()
    try {
      const startMs = systemClock.monotonicMs()
      shownMs = startMs
      const failed: unknown[] = []
      const call = counters.count('d', [ask('a')]).catch((error: unknown) => failed.push(error))
      shownMs = startMs + 49
      const before = looks
      await vi.waitFor(() => {
        expect(looks).toBeGreaterThan(before + 5)
      }, 20_000)
      expect(failed).toEqual([])
      shownMs = startMs + 50
      await call
      expect(failed).toEqual([expect.any(DependencyError)])
    } finally {
      redis.resume()
    }
  })

  test.each(['count', 'shared'])(
    'S66: counts until the millisecond before the deadline: %s.lua',
    async (name) => {
      const file = new URL(`../../src/ratelimit/lua/${name}.lua`, import.meta.url)
      const [first = '', ...lines] = readFileSync(file, 'utf8').split('\n')
      /** The script as it runs when Redis shows this moment: to the microsecond it cannot be met. */
      const runAt = (microseconds: string): Promise<unknown> => {
        const clock = `local real = redis
local redis = setmetatable({}, { __index = real })
redis.call = function(...)
  if ... == 'TIME' then return { '1000', '${microseconds}' } end
  return real.call(...)
end`
        const text = [first, clock, ...lines].join('\n')
        return redis.client.eval(text, 1, 'k', '1000500', '', '0', '60', '5', '1', '60')
      }
      expect(await runAt('499999')).toEqual(['counted', 1_000_499, 1_000_499, '0', '1'])
      expect(await runAt('500000')).toEqual(['late', 1_000_500])
      expect(await runAt('499999')).toEqual(['counted', 1_000_499, 1_000_499, '1', '2'])
    },
  )

  test('S73: is not asked for what is over where localCacheBytes gives room', async () => {
    for (const [localCacheBytes, asked] of [
      [0, 2],
      [4096, 1],
    ] as const) {
      await redis.client.flushall()
      const { counters } = open({ localCacheBytes })
      await counters.count('d', [ask('a', 'year', 1)])
      await redis.client.config('RESETSTAT')
      await counters.count('d', [ask('a', 'year', 10)])
      const [count] = await counters.count('d', [ask('a', 'year', 1)])
      expect(count?.isRemembered ?? false).toBe(localCacheBytes > 0)
      expect(await commands(redis, 'evalsha')).toBe(asked)
    }
  })

  test('S75: is not available before it has answered', async () => {
    const { counters, isAvailable } = open()
    expect(isAvailable()).toBe(false)
    await counters.count('d', [ask('a')])
    expect(isAvailable()).toBe(true)
  })

  test('a value that is no counter fails the call, and one that is full is over', async () => {
    const { counters } = open({ mode: 'shared', stopWhenOver: true })
    const windowStart = Math.floor(systemClock.nowEpochMs() / 1000 / 31_536_000) * 31_536_000
    await redis.client.set(`d_key4_text_${String(windowStart)}`, 'text')
    await expect(counters.count('d', [ask('text')])).rejects.toThrow(DependencyError)
    await redis.client.set(`d_key4_full_${String(windowStart)}`, '9223372036854775807')
    expect((await counters.count('d', [ask('full')]))[0]?.after).toBe(Number.MAX_SAFE_INTEGER)
  })

  test('however many calls fail at a value that is no counter, the others are answered', async () => {
    const onUnavailable = vi.fn()
    const { counters, isAvailable } = open({ mode: 'shared' }, { onUnavailable })
    const windowStart = Math.floor(systemClock.nowEpochMs() / 1000 / 31_536_000) * 31_536_000
    await redis.client.set(`d_key4_text_${String(windowStart)}`, 'text')
    await redis.client.set(`d_key4_half_${String(windowStart)}`, '1.5')
    for (let call = 0; call < 6; call += 1) {
      await expect(counters.count('d', [ask('text')])).rejects.toThrow(DependencyError)
      const refund = { ...ask('half'), isRefund: true }
      await expect(counters.count('d', [refund])).rejects.toThrow(DependencyError)
    }
    expect((await counters.count('other', [ask('a')]))[0]?.after).toBe(1)
    expect(isAvailable()).toBe(true)
    expect(onUnavailable).not.toHaveBeenCalled()
  })

  test('a domain whose keys are barred does not keep the others away', async () => {
    const { counters, isAvailable, askLost } = open({ mode: 'shared' })
    await counters.count('d', [ask('a')])
    await redis.client.acl('SETUSER', 'default', 'resetkeys', '~d_*')
    try {
      for (let call = 0; call < 5; call += 1) {
        await expect(counters.count('barred', [ask('a')])).rejects.toThrow('Redis answered NOPERM')
      }
      await expect(counters.count('d', [ask('a')])).rejects.toThrow('is not asked')
      for (let call = 0; call < 10; call += 1) {
        await expect(counters.count('barred', [ask('a')])).rejects.toThrow('is not asked')
      }
      await vi.waitFor(() => {
        askLost()
        expect(isAvailable()).toBe(true)
      }, 20_000)
    } finally {
      await redis.client.acl('SETUSER', 'default', 'allkeys')
    }
  })
})

describe('what Redis may have done meanwhile', () => {
  test('its scripts were forgotten', async () => {
    const { counters } = open()
    await counters.count('d', [ask('a')])
    await redis.client.script('FLUSH')
    expect((await counters.count('d', [ask('a')]))[0]?.after).toBe(2)
  })

  test.each(['safe', 'shared'] as const)(
    'mode %s: its script is there before the first call, and no other',
    async (mode) => {
      await redis.client.script('FLUSH')
      open({ mode })
      await vi.waitFor(async () => {
        const memory = await redis.client.info('memory')
        expect(memory).toMatch(/^number_of_cached_scripts:1\r$/m)
      })
      await redis.client.config('RESETSTAT')
      const { counters } = open({ mode })
      await counters.count('d', [ask('a')])
      expect(await commands(redis, 'eval')).toBe(0)
      expect(await commands(redis, 'evalsha')).toBe(1)
    },
  )

  // As docs/configuration.md says.
  test.each([
    ['safe', '~tg2:*', ['get', 'set', 'del']],
    ['shared', '~d_*', ['get', 'incrby', 'decrby', 'expire']],
  ] as const)('mode %s needs no rights but these: %s %s', async (mode, keys, rights) => {
    const name = `only-${mode}`
    const always = ['evalsha', 'eval', 'script|exists', 'script|load', 'time']
    const allowed = [...always, ...rights].map((right) => `+${right}`)
    await redis.client.call('ACL', 'SETUSER', name, 'on', '>secret', keys, ...allowed)
    await redis.client.call('ACL', 'LOG', 'RESET')
    const passwordFile = join(directory, mode)
    writeFileSync(passwordFile, 'secret')
    const { address, ...rest } = server(redis)
    const store = { ...rest, address: { ...address, user: name, passwordFile } }
    const { counters } = open({ mode, store })
    for (const isRefund of [false, true]) {
      await counters.count('d', [ask('a'), { ...ask('a'), isRefund }])
    }
    expect((await counters.count('d', [ask('a')]))[0]?.after).toBe(3)
    // What fails no call is not refused either.
    expect(await redis.client.call('ACL', 'LOG')).toEqual([])
  })
})

describe('S72: limits per second have a server of their own', () => {
  test('each key is where it belongs, and answers stand in order', async () => {
    const { counters } = open({ mode: 'shared', perSecond: server(other) })
    const asks = [ask('a', 'second', 3), ask('b', 'minute', 2), ask('c', 'second')]
    expect((await counters.count('d', asks)).map(({ after }) => after)).toEqual([3, 2, 1])
    expect(await redis.client.keys('*')).toEqual([expect.stringMatching(/^d_key4_b_\d+$/)])
    expect((await other.client.keys('*')).sort()).toEqual([
      expect.stringMatching(/^d_key4_a_\d+$/),
      expect.stringMatching(/^d_key4_c_\d+$/),
    ])
  })

  test('with stopWhenOver one that is over in one keeps the other from counting', async () => {
    const { counters } = open({ perSecond: server(other), stopWhenOver: true })
    const call = [ask('a', 'second', 1), ask('b', 'hour', 11), ask('c', 'hour', 2)]
    const counts = await counters.count('d', call)
    expect(counts.map(({ after }) => after)).toEqual([0, 11, 0])
    expect(await other.client.keys('*')).toEqual([])
    const fits = await counters.count('d', [ask('a', 'second', 1), ask('c', 'hour', 2)])
    expect(fits.map(({ after }) => after)).toEqual([1, 2])
  })

  test('with stopWhenOver hits are given back all the same, and are never over', async () => {
    const { counters } = open({ mode: 'shared', perSecond: server(other), stopWhenOver: true })
    const hour = ask('a', 'hour', 8)
    await counters.count('d', [hour])
    const back = { ...ask('a', 'hour', 5), isRefund: true }
    const fits = await counters.count('d', [back, ask('b', 'second', 1)])
    expect(fits.map(({ after }) => after)).toEqual([3, 1])
    const over = await counters.count('d', [{ ...back, hits: 2 }, ask('c', 'second', 11)])
    expect(over.map(({ after }) => after)).toEqual([1, 11])
  })

  test('S66: with stopWhenOver a call has its time once, not once for each round', async () => {
    let shownMs: number | undefined
    const monotonicMs = (): number => shownMs ?? systemClock.monotonicMs()
    // Longer than the test takes: Redis's own clock goes on.
    const withTimeout = (of: RedisServer) => ({ ...server(of), timeoutMs: 60_000 })
    const { counters } = open(
      { store: withTimeout(redis), perSecond: withTimeout(other), stopWhenOver: true },
      { clock: { ...systemClock, monotonicMs } },
    )
    const asks = [ask('a', 'second', 0), ask('b', 'hour', 1)]
    await counters.count('d', asks)
    for (const { client } of [redis, other]) await client.config('RESETSTAT')
    const asked = async (of: RedisServer, times: number) => {
      await vi.waitFor(async () => {
        expect(await commands(of, 'evalsha')).toBe(times)
      }, 20_000)
    }
    const startMs = systemClock.monotonicMs()
    shownMs = startMs
    const failed: unknown[] = []
    other.pause()
    try {
      counters.count('d', asks).catch((error: unknown) => failed.push(error))
      // The first round is over when the other server has answered, too; then this one stands still.
      await asked(redis, 1)
      redis.pause()
      shownMs = startMs + 59_950
      other.resume()
      await asked(other, 2)
      expect(failed).toEqual([])
      shownMs = startMs + 60_000
      await vi.waitFor(() => {
        expect(failed).toEqual([expect.any(DependencyError)])
      }, 5000)
    } finally {
      other.resume()
      redis.resume()
    }
  })

  test('S75: available is what both are', async () => {
    for (const silent of [redis, other]) {
      silent.pause()
      try {
        const { counters, isAvailable } = open({ perSecond: server(other) })
        const unit = silent === redis ? 'second' : 'hour'
        await counters.count('d', [ask('a', unit)])
        expect(isAvailable()).toBe(false)
        silent.resume()
        await vi.waitFor(() => {
          expect(isAvailable()).toBe(true)
        }, 20_000)
      } finally {
        silent.resume()
      }
    }
  })

  test.each([
    ['the first', 'safe'],
    ['the second', 'safe'],
    ['the first', 'shared'],
  ] as const)(
    'one that is lost is asked whether it answers again, though no call comes: %s, mode %s, under the keys of its domain alone',
    async (which, mode) => {
      const lost = which === 'the first' ? redis : other
      const passwordFile = join(directory, 'of-one-domain')
      writeFileSync(passwordFile, 'secret')
      const keys = mode === 'shared' ? ['~d_*'] : ['~*']
      for (const { client } of [redis, other]) {
        await client.call(
          'ACL',
          'SETUSER',
          'one-domain',
          'on',
          '>secret',
          'resetkeys',
          ...keys,
          '+@all',
        )
      }
      const as = (on: RedisServer) => {
        const { address } = server(on)
        return {
          kind: 'redis' as const,
          address: { ...address, user: 'one-domain', passwordFile },
          timeoutMs: 50,
        }
      }
      const service = open({
        ...{ mode, store: as(redis), perSecond: as(other) },
      })
      const { counters } = service
      const unit = lost === redis ? 'year' : 'second'
      for (const each of ['year', 'second'] as const) {
        await until(() => counters.count('d', [ask('a', each)]))
      }
      await lost.client.config('RESETSTAT')
      await expectAskedAgain(lost, service, 'd', { ...ask('a', unit), isRefund: true })
      // What was not counted meanwhile is not counted by that, nor given back.
      for (const write of ['set', 'del', 'decrby', 'expire']) {
        expect(await commands(lost, write)).toBe(0)
      }
      const [count] = await counters.count('d', [ask('a', 'year')])
      expect(count?.after).toBe(2)
    },
  )

  test('where only one is needed only one is asked', async () => {
    const { counters } = open({ perSecond: server(other), stopWhenOver: true })
    await counters.count('d', [ask('b', 'hour')])
    await redis.client.config('RESETSTAT')
    await other.client.config('RESETSTAT')
    await counters.count('d', [ask('b', 'hour')])
    expect(await commands(redis, 'evalsha')).toBe(1)
    expect((await commands(other, 'evalsha')) + (await commands(other, 'eval'))).toBe(0)
  })
})
