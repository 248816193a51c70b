import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { systemClock } from '../../src/clock.js'
import { DependencyError } from '../../src/errors.js'
import type { Ask } from '../../src/ratelimit/counters.js'
import { windowStartSeconds } from '../../src/ratelimit/counters.js'
import { createRedisCounters } from '../../src/ratelimit/redis-counters.js'
import { openStore, slotOf } from '../../src/store/store.js'
import type { Store } from '../../src/store/store.js'
import { startCluster } from '../redis-cluster.js'
import type { ClusterGroup } from '../redis-cluster.js'
import type { RedisServer } from '../redis-server.js'
import { describeCounters, describeOwnCounters } from './counters.contract.js'
import { until } from '../until.js'
import { ask } from './asks.js'
import { expectAskedAgain } from './lost-store.js'
import { createFromPolicy, openPolicy, openService, redisSection } from './policy-counters.js'
import type { ServiceSection } from './policy-counters.js'

const directory = mkdtempSync(join(tmpdir(), 'tg-cluster-counters-'))

let group: ClusterGroup
beforeAll(async () => {
  group = await startCluster()
})
afterAll(async () => {
  await group.stop()
  rmSync(directory, { recursive: true })
})

/** A section that counts on the cluster. */
const on = (more: ServiceSection): ServiceSection => ({
  redis: redisSection(group.address),
  ...more,
})
const flush = (): Promise<void> => group.flush()

const safe = createFromPolicy(() => on({ cacheKeyPrefix: 'p:' }), flush)
describeCounters('on a cluster of three', safe)
describeOwnCounters('on a cluster of three', safe)
describeCounters(
  "on a cluster of three, under the peer's keys",
  createFromPolicy(() => on({ mode: 'shared', cacheKeyPrefix: 'p:' }), flush),
)

/** How many scripts were called on all nodes since `RESETSTAT`. */
async function scripts(): Promise<number> {
  const told = await Promise.all(group.masters.map(({ client }) => client.info('commandstats')))
  const calls = [...told.join('\n').matchAll(/cmdstat_eval(?:sha)?:calls=(\d+)/g)]
  return calls.reduce((sum, [, count]) => sum + Number(count), 0)
}

async function resetStatistics(): Promise<void> {
  for (const { client } of group.masters) await client.config('RESETSTAT')
}

test('the counters of one domain are on one node, those of many on all', async () => {
  await group.flush()
  const counters = openPolicy(on({}))
  for (let domain = 0; domain < 32; domain += 1) {
    const asks = ['a', 'b', 'c'].map((value) => ask(value))
    await counters.count(`domain ${String(domain)}`, asks)
  }
  const counts = await Promise.all(group.masters.map(({ client }) => client.dbsize()))
  expect(counts.reduce((sum, count) => sum + count)).toBe(96)
  for (const count of counts) expect(count).toBeGreaterThan(0)
})

describe("under the peer's keys", () => {
  const values = Array.from({ length: 20 }, (_, index) => String(index))
  const many = (hits = 1): readonly Ask[] => values.map((value) => ask(value, 'year', hits))

  test('a call is one script for each slot, and each key is where the peer looks for it', async () => {
    await group.flush()
    const counters = openPolicy(on({ mode: 'shared' }))
    // Loads the script on every node.
    await counters.count('d', many())
    await resetStatistics()
    // Two of one counter see each other.
    const counts = await counters.count('d', [...many(2), ask('7', 'year', 4)])
    expect(counts.map(({ before, after }) => [before, after])).toEqual([
      ...values.map(() => [1, 3]),
      [3, 7],
    ])
    const window = String(windowStartSeconds('year', systemClock.nowEpochMs()))
    const keys = values.map((value) => `d_key4_${value}_${window}`)
    expect(await scripts()).toBe(new Set(keys.map(slotOf)).size)
    expect([...(await group.keys())].sort()).toEqual([...keys].sort())
    for (const { client } of group.masters) expect(await client.dbsize()).toBeGreaterThan(0)
    for (const key of keys) {
      const { client } = group.masterOf(key)
      expect(await client.get(key)).toBe(key.includes('_7_') ? '7' : '3')
    }
  })

  test('the slot of a key is looked for once, however long it is and often it is asked', async () => {
    await group.flush()
    const store = openStore(group.address, { clock: systemClock, random: Math.random })
    const slots: unknown[] = []
    const run: Store['run'] = (script, keys, argsUntil, dueMs, more) => {
      expect(keys.map(slotOf)).toEqual(keys.map(() => more?.slot))
      slots.push(more?.slot)
      return store.run(script, keys, argsUntil, dueMs, more)
    }
    const counters = createRedisCounters({
      store: { ...store, run },
      clock: systemClock,
      random: Math.random,
      mode: 'shared',
      isCluster: true,
      keyPrefix: '',
      expirationJitterMaxSeconds: 0,
      timeoutMs: 5000,
      stopWhenOver: true,
    })
    const long = ['a', 'b', 'c'].map((value) => ask(value.repeat(61_000), 'year'))
    const counts = await counters.count('d', [...long, ...many()])
    expect(counts.every(({ after }) => after === 1)).toBe(true)
    // Looked at, then counted.
    expect(slots).toHaveLength(2 * new Set(slots).size)
    counters.close()
  })

  test('keys that say their slot are one script', async () => {
    await group.flush()
    const counters = openPolicy(on({ mode: 'shared' }))
    await resetStatistics()
    await counters.count('d', [ask('{t}a'), ask('{t}b'), ask('{t}c')])
    // The second is the text of the script, which the node did not know.
    expect(await scripts()).toBeLessThanOrEqual(2)
    expect(await group.keys()).toHaveLength(3)
  })

  test('a window that ends within a call is one for all of it', async () => {
    await group.flush()
    let nowMs = 3_600_000 * 400_000
    // Each look is in another hour.
    const clock = { ...systemClock, nowEpochMs: () => (nowMs += 3_600_000) }
    const counters = openPolicy(on({ mode: 'shared' }), clock)
    const asks = [...values, '7'].map((value) => ask(value, 'hour'))
    await counters.count('d', asks)
    await group.flush()
    await resetStatistics()
    expect((await counters.count('d', asks)).map(({ after }) => after)).toEqual([
      ...values.map(() => 1),
      2,
    ])
    const keys = await group.keys()
    expect(keys).toHaveLength(20)
    expect(new Set(keys.map((key) => key.split('_').at(-1))).size).toBe(1)
    expect(await scripts()).toBe(new Set(keys.map(slotOf)).size)
  })

  test('with stopWhenOver one that is over on one node keeps all others from counting', async () => {
    await group.flush()
    const counters = openPolicy(on({ mode: 'shared', stopWhenOver: true }))
    const counts = await counters.count('d', [...many(2), ask('over', 'year', 11)])
    expect(counts.map(({ after }) => after)).toEqual([...values.map(() => 0), 11])
    expect(await group.keys()).toHaveLength(1)
    const back = { ...ask('over', 'year', 3), isRefund: true }
    const fits = await counters.count('d', [...many(2), back])
    expect(fits.map(({ after }) => after)).toEqual([...values.map(() => 2), 8])
  })

  test('with stopWhenOver a call that adds nothing is not looked at first', async () => {
    await group.flush()
    const counters = openPolicy(on({ mode: 'shared', stopWhenOver: true }))
    const back = { ...ask('b'), isRefund: true }
    await counters.count('d', [ask('a', 'year', 0), back])
    await resetStatistics()
    await counters.count('d', [ask('a', 'year', 0), back])
    expect(await scripts()).toBe(2)
  })

  test.each([0, 1, 2])(
    'a node that is lost is asked whether it answers again, though no call comes: %i',
    async (index) => {
      await group.flush()
      const node = group.masters[index]
      if (node === undefined) throw new Error('there are three')
      const service = openService({
        redis: { ...redisSection(group.address), timeoutMs: 50 },
      })
      const { counters } = service
      let domain = ''
      for (let number = 0; (await node.client.dbsize()) === 0; number += 1) {
        domain = `domain ${String(number)}`
        await until(() => counters.count(domain, [ask('a', 'year')]))
      }
      await expectAskedAgain(node, service, domain, ask('a', 'year'))
    },
  )

  test('each node that is lost is asked by a call that it failed, which others of the domain and later windows do not replace', async () => {
    await group.flush()
    let yearsOn = 0
    const nowEpochMs = (): number => systemClock.nowEpochMs() + yearsOn * 366 * 24 * 3_600_000
    const section = { mode: 'shared', redis: { ...redisSection(group.address), timeoutMs: 50 } }
    const service = openService(section, { ...systemClock, nowEpochMs })
    const { counters, isAvailable, askLost } = service
    const nodeOf = (value: string): RedisServer => {
      const window = String(windowStartSeconds('year', nowEpochMs()))
      return group.masterOf(`d_key4_${value}_${window}`)
    }
    await until(() => counters.count('d', many()))
    const lost = group.masters.slice(0, 2)
    try {
      for (const node of lost) {
        const value = values.find((one) => nodeOf(one) === node) ?? ''
        node.pause()
        for (let call = 0; call < 6; call += 1) {
          await expect(counters.count('d', [ask(value)])).rejects.toThrow(DependencyError)
        }
        // In another window the same would be asked of the third.
        while (lost.includes(nodeOf(value))) yearsOn += 1
      }
    } finally {
      for (const node of lost) node.resume()
    }
    expect(isAvailable()).toBe(false)
    await vi.waitFor(() => {
      askLost()
      expect(isAvailable()).toBe(true)
    }, 20_000)
  })

  test('S66: a node that hangs fails the call in time, counts nothing later, and what the others counted stays', async () => {
    await group.flush()
    const redis = { ...redisSection(group.address), timeoutMs: 200 }
    const counters = openPolicy({ mode: 'shared', redis })
    await counters.count('d', many())
    const [first] = group.masters
    first?.pause()
    try {
      const failed = counters.count('d', many())
      await expect(failed).rejects.toThrow(DependencyError)
      await expect(failed).rejects.toMatchObject({ dependency: 'rate_limit_store' })
    } finally {
      first?.resume()
    }
    // What was sent is run now, after its deadline.
    await first?.client.ping()
    for (const { client } of group.masters) {
      for (const key of await client.keys('*')) {
        expect(await client.get(key)).toBe(client === first?.client ? '1' : '2')
      }
    }
  })

  // As docs/configuration.md says.
  test('needs no rights but these', async () => {
    await group.flush()
    const always = ['evalsha', 'eval', 'script|exists', 'script|load', 'time']
    const rights = [...always, 'get', 'incrby', 'decrby', 'expire']
    const allowed = [...rights, 'cluster|slots', 'asking'].map((right) => `+${right}`)
    for (const { client } of group.masters) {
      await client.call('ACL', 'SETUSER', 'only', 'on', '>secret', '~d_*', ...allowed)
    }
    const passwordFile = join(directory, 'word')
    writeFileSync(passwordFile, 'secret')
    const redis = { ...redisSection(group.address), user: 'only', passwordFile }
    const counters = openPolicy({ mode: 'shared', redis, stopWhenOver: true })
    await counters.count('d', many())
    const back = { ...ask('7'), isRefund: true }
    const counts = await counters.count('d', [...many(), back])
    expect(counts.map(({ after }) => after)).toEqual([...values.map(() => 2), 1])
  })
})
