import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { systemClock } from '../../src/clock.js'
import { DependencyError } from '../../src/errors.js'
import { createScript, openStore, slotOf, SLOTS } from '../../src/store/store.js'
import type { Reply, Script, Store, StoreAddress } from '../../src/store/store.js'
import { startCluster } from '../redis-cluster.js'
import type { ClusterGroup } from '../redis-cluster.js'
import type { RedisServer } from '../redis-server.js'

/** Counts up its first key and looks at all, unless it comes too late. */
const text = `#!lua
local time = redis.call('TIME')
local nowMs = time[1] * 1000 + math.floor(time[2] / 1000)
if nowMs >= tonumber(ARGV[1]) then return { 'late', nowMs } end
local others = 0
for _, key in ipairs(KEYS) do others = others + redis.call('EXISTS', key) end
return { 'counted', nowMs, redis.call('INCR', KEYS[1]), others }
`
const count = createScript(text)
const wide = createScript(text, 'slot')

let group: ClusterGroup
beforeAll(async () => {
  group = await startCluster()
})
afterAll(() => group.stop())
beforeEach(() => group.flush())

const stores: Store[] = []
afterEach(() => {
  for (const store of stores.splice(0)) store.close()
})

function open(
  address: StoreAddress = group.address,
  events: string[] = [],
  scripts: readonly Script[] = [],
): Store {
  const store = openStore(address, {
    clock: systemClock,
    random: Math.random,
    scripts,
    onUnavailable: (reason) => events.push(reason),
    onAvailable: () => events.push('available'),
  })
  stores.push(store)
  return store
}

interface Differences {
  readonly timeoutMs?: number
  readonly script?: Script
  /** Gets the moment before which each send may take effect, in Redis's time. */
  readonly untils?: number[]
}

function run(
  store: Store,
  keys: readonly string[],
  { timeoutMs = 5000, script = count, untils = [] }: Differences = {},
): Promise<Reply> {
  const dueMs = systemClock.monotonicMs() + timeoutMs
  const argsUntil = (untilMs: number): readonly string[] => {
    untils.push(untilMs)
    return [String(untilMs)]
  }
  return store.run(script, keys, argsUntil, dueMs)
}

/** So many sends at least, of one deadline, as far as each node's time is known: to what its first answer took, 1 s at most. */
function expectOneDeadline(untils: readonly number[], sends: number): void {
  expect(untils.length).toBeGreaterThanOrEqual(sends)
  expect(Math.max(...untils) - Math.min(...untils)).toBeLessThan(1000)
}

function eventually<T>(ask: () => Promise<T> | T): Promise<T> {
  return vi.waitFor(ask, { timeout: 25_000, interval: 10 })
}

/** Another master than the key's. No slot is moved twice: news of the first move would still be on its way. */
const otherThan = (server: RedisServer): RedisServer =>
  group.masters.find((master) => master !== server) as RedisServer

describe('the slot of a key', () => {
  test.each([
    ['123456789', 0x31c3],
    ['', 0],
    ['{user1000}.following', slotOf('user1000')],
    ['foo{}{bar}', slotOf('foo{}{bar}')],
    ['foo{{bar}}zap', slotOf('{bar')],
    ['foo{bar}{zap}', slotOf('bar')],
    ['foo}{bar', slotOf('foo}{bar')],
  ])('%s is the one of the specification', (key, slot) => {
    expect(slotOf(key)).toBe(slot)
  })

  test('is the one that Redis finds', async () => {
    const [{ client } = group.masters[0] as RedisServer] = group.masters
    for (const key of ['a', 'tg2:{17}p:x', 'foo{}{bar}', 'foo{{bar}}zap', 'é{ü}', 'x{', '{}']) {
      expect(slotOf(key)).toBe(await client.call('CLUSTER', 'KEYSLOT', key))
    }
  })

  test.each([0, 1, 2, 3])('is so for keys of all lengths, here 4 n + %i bytes', async (more) => {
    const [{ client } = group.masters[0] as RedisServer] = group.masters
    for (const length of [0, 4, 252, 65_532]) {
      const key = String.fromCharCode(
        ...Array.from({ length: length + more }, (_, index) => (index * 89) % 123),
      )
      expect(slotOf(key)).toBe(await client.call('CLUSTER', 'KEYSLOT', key))
    }
  })

  test('is not looked for again where the caller has found it', async () => {
    const store = open()
    const dueMs = systemClock.monotonicMs() + 5000
    const asked = store.run(count, ['a'], (untilMs) => [String(untilMs)], dueMs, { slot: SLOTS })
    await expect(asked).rejects.toThrow('no node of the cluster has the slot')
  })
})

describe('a store on a cluster', () => {
  test('sends each call to the node that has its keys, whichever node it was told', async () => {
    const [one = ''] = group.address.cluster.nodes
    const store = open({ ...group.address, cluster: { nodes: [one] } })
    for (const key of ['a', 'b', 'c', 'd', 'e', 'f']) expect((await run(store, [key]))[2]).toBe(1)
    const counts = await Promise.all(group.masters.map(({ client }) => client.dbsize()))
    expect(counts.every((keys) => keys > 0)).toBe(true)
    expect(store.nowMs('a')).toBeGreaterThan(Date.now() - 60_000)
  })

  test('runs scripts that a node was told to forget', async () => {
    const store = open()
    for (const times of [1, 2, 3]) {
      expect((await run(store, ['a']))[2]).toBe(times)
      await group.masterOf('a').client.script('FLUSH')
    }
  })

  test('has each node load its scripts, whatever it is asked for', async () => {
    for (const { client } of group.masters) await client.script('FLUSH')
    const store = open(group.address, [], [count])
    await run(store, ['a'])
    await eventually(async () => {
      for (const { client } of group.masters) {
        expect(await client.call('SCRIPT', 'EXISTS', count.digest)).toEqual([1])
      }
    })
  })

  test('passes over nodes that are gone when it asks who has what', async () => {
    const store = open({
      ...group.address,
      cluster: { nodes: ['redis://127.0.0.1:1', ...group.address.cluster.nodes] },
    })
    await eventually(() => run(store, ['a']))
  })

  test('fails without any node that answers, and says so once', async () => {
    const events: string[] = []
    const store = open({ ...group.address, cluster: { nodes: ['redis://127.0.0.1:1'] } }, events)
    await expect(run(store, ['a'])).rejects.toThrow(DependencyError)
    await expect(run(store, ['a'])).rejects.toThrow(DependencyError)
    expect(events).toEqual(['no node says which has what (a node of the cluster)'])
  })

  test('follows a slot that was moved', async () => {
    const store = open()
    await run(store, ['moved'])
    const [from, slot] = [group.masterOf('moved'), slotOf('moved')]
    const to = otherThan(from)
    await group.openMove(slot, from, to)
    await group.moveKeys(slot, from, to, 100)
    await group.closeMove(slot, from, to)
    const untils: number[] = []
    await run(store, ['moved'], { untils })
    expectOneDeadline(untils, 2)
    expect(await to.client.get('moved')).toBe('2')
  })

  test('sends the next call for a slot that was moved to its new node at once', async () => {
    const store = open()
    await run(store, ['after'])
    const [from, slot] = [group.masterOf('after'), slotOf('after')]
    const to = otherThan(from)
    // Connected to both.
    for (const key of ['a', 'b', 'c', 'd', 'e', 'f']) await run(store, [key])
    await group.openMove(slot, from, to)
    await group.moveKeys(slot, from, to, 100)
    await group.closeMove(slot, from, to)
    const untils: number[] = []
    let next: Promise<Reply> | undefined
    await store.run(
      count,
      ['after'],
      (untilMs) => {
        // The first call is on its way to the new node, and no other answer can have come since MOVED.
        if (next === undefined && untils.length > 0) next = run(store, ['after'], { untils })
        else untils.push(untilMs)
        return [String(untilMs)]
      },
      systemClock.monotonicMs() + 5000,
    )
    await next
    expect(untils.length).toBe(2)
    expect(await to.client.get('after')).toBe('3')
  })

  test('asks where a slot is being moved to for keys that have gone already', async () => {
    const store = open()
    await run(store, ['asked'])
    const [from, slot] = [group.masterOf('asked'), slotOf('asked')]
    const to = otherThan(from)
    await group.openMove(slot, from, to)
    await group.moveKeys(slot, from, to, 100)
    await to.client.script('FLUSH')
    const untils: number[] = []
    expect((await run(store, ['asked'], { untils }))[2]).toBe(2)
    // To the one, to the other by the digest, and by the text.
    expectOneDeadline(untils, 3)
    // What finds other keys there would take those that have not come yet for keys that never were.
    await expect(run(store, ['asked'], { script: wide })).rejects.toThrow('Redis answered ASK')
    await group.closeMove(slot, from, to)
    expect((await run(store, ['asked']))[2]).toBe(3)
  })

  test('tries once more when a part of the keys is elsewhere, and then fails with nothing done', async () => {
    const store = open()
    const keys = ['{split}1', '{split}2']
    for (const key of keys) await run(store, [key])
    const [from, slot] = [group.masterOf('split'), slotOf('split')]
    const to = otherThan(from)
    await group.openMove(slot, from, to)
    await group.moveKeys(slot, from, to, 1)
    const before = await from.client.info('errorstats')
    const untils: number[] = []
    await expect(run(store, keys, { untils })).rejects.toThrow('Redis answered TRYAGAIN')
    expectOneDeadline(untils, 2)
    const answers = (info: string): number =>
      Number(/errorstat_TRYAGAIN:count=(\d+)/.exec(info)?.[1] ?? 0)
    expect(answers(await from.client.info('errorstats')) - answers(before)).toBe(2)
    const asked = run(store, keys)
    await group.moveKeys(slot, from, to, 100)
    await Promise.allSettled([asked])
    await eventually(async () => expect((await run(store, keys))[3]).toBe(2))
    await group.closeMove(slot, from, to)
  })

  test('fails the slots of a node that hangs, and no others', async () => {
    const events: string[] = []
    const store = open(group.address, events)
    for (const key of ['a', 'b', 'c']) await run(store, [key])
    const hung = group.masterOf('a')
    const key = ['b', 'c', 'd', 'e', 'f'].find((other) => group.masterOf(other) !== hung) ?? ''
    hung.pause()
    for (let fault = 0; fault < 6; fault += 1) {
      await expect(run(store, ['a'], { timeoutMs: 20 })).rejects.toThrow(DependencyError)
      await run(store, [key])
      // It owes an answer though the call has failed, until its connection is given up.
      if (fault === 0) expect(store.silentMs('a')).toBeGreaterThan(0)
      expect(store.silentMs(key)).toBe(0)
    }
    hung.resume()
    await eventually(() => run(store, ['a']))
    expect(store.silentMs('a')).toBe(0)
    expect(events).toEqual([
      'Redis does not answer as it should (a node of the cluster)',
      'available',
    ])
  })
})

test('a node that dies is replaced by its replica', async () => {
  const replicated = await startCluster({ replicated: true })
  try {
    const store = open(replicated.address)
    await run(store, ['a'])
    const { client } = replicated.masterOf('a')
    // WAIT waits for what its own connection has written, and for what came before that.
    await client.set('{a}written', '')
    expect(await client.wait(1, 10_000)).toBe(1)
    await replicated.masterOf('a').kill()
    await expect(run(store, ['a'])).rejects.toThrow(DependencyError)
    await eventually(async () => expect((await run(store, ['a']))[2]).toBe(2))
  } finally {
    await replicated.stop()
  }
})

test('a cluster that lacks a node is down for all slots, and that is a failure', async () => {
  const alone = await startCluster()
  try {
    const store = open(alone.address)
    const key = ['b', 'c', 'd', 'e'].find((other) => alone.masterOf(other) !== alone.masterOf('a'))
    await run(store, [key ?? ''])
    await alone.masterOf('a').kill()
    await eventually(() =>
      expect(run(store, [key ?? ''])).rejects.toThrow('Redis answered CLUSTERDOWN'),
    )
  } finally {
    await alone.stop()
  }
})
