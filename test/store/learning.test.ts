import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { systemClock } from '../../src/clock.js'
import { DependencyError } from '../../src/errors.js'
import { createScript, openStore, UnansweredError } from '../../src/store/store.js'
import type { Reply, Store } from '../../src/store/store.js'
import { clusterOf, startSmallNode } from './small-node.js'
import type { SmallNode } from './small-node.js'

// What a Cluster is learnt from: nodes that leave it, that know of nobody, and that do not say. Real ones are quicker.

let nodes: SmallNode[]
let store: Store
beforeEach(async () => {
  nodes = [await startSmallNode(1_600_000_000), await startSmallNode(1_700_000_000)]
})
afterEach(() => {
  store.close()
  for (const node of nodes) node.stop()
})

test('a node that has left the map still answers what it was asked before', async () => {
  const [one, other] = nodes as [SmallNode, SmallNode]
  store = openStore(clusterOf(one), { clock: systemClock, random: Math.random })
  const script = createScript('return 1')
  const ask = (timeoutMs: number): Promise<Reply> =>
    store.run(script, ['a'], () => [], systemClock.monotonicMs() + timeoutMs)
  expect((await ask(20_000))[2]).toBe(one.port)
  one.holds = true
  const asked = ask(20_000)
  await vi.waitFor(() => {
    expect(one.held.length).toBe(1)
  })
  one.ownerPort = other.port
  // One that fails: so it is asked who has what now.
  await expect(ask(1)).rejects.toThrow(UnansweredError)
  await vi.waitFor(
    () => {
      expect(store.nowMs('a')).toBeGreaterThan(1_690_000_000_000)
    },
    { timeout: 20_000, interval: 10 },
  )
  expect((await ask(20_000))[2]).toBe(other.port)
  for (const socket of one.held) one.answer(socket)
  expect((await asked)[2]).toBe(one.port)
})

function open(...known: readonly SmallNode[]) {
  const events: string[] = []
  store = openStore(clusterOf(...known), {
    clock: systemClock,
    random: Math.random,
    onUnavailable: (reason) => events.push(reason),
    onAvailable: () => events.push('back'),
  })
  const ask = (timeoutMs: number): Promise<Reply> =>
    store.run(createScript('return 1'), ['a'], () => [], systemClock.monotonicMs() + timeoutMs)
  return { events, ask }
}

const noMap = 'no node says which has what (a node of the cluster)'

test('as long as a node is lost it is asked who has what now, though no call comes', async () => {
  const [one, other] = nodes as [SmallNode, SmallNode]
  const { events, ask } = open(one)
  await ask(20_000)
  one.holds = true
  for (let call = 0; call < 6; call += 1) await expect(ask(1)).rejects.toThrow(DependencyError)
  const lost = 'Redis does not answer as it should (a node of the cluster)'
  expect(events).toEqual([lost])
  const { maps } = one
  await vi.waitFor(
    () => {
      // What the calls that failed had it ask for is behind us.
      expect(one.maps).toBeGreaterThan(maps)
    },
    { timeout: 20_000 },
  )
  one.ownerPort = other.port
  await vi.waitFor(
    () => {
      store.probe()
      expect(events).toEqual([lost, 'back'])
    },
    { timeout: 20_000 },
  )
})

test('a cluster that has not given its slots yet is not known, and is found without a call when it has', async () => {
  const [one] = nodes as [SmallNode, SmallNode]
  one.ownerPort = 0
  const { events } = open(one)
  await vi.waitFor(() => {
    expect(events).toEqual([noMap])
  }, 20_000)
  one.ownerPort = one.port
  await vi.waitFor(() => {
    expect(events).toEqual([noMap, 'back'])
    expect(store.nowMs('a')).toBeGreaterThan(1_590_000_000_000)
  }, 20_000)
})

test('a node that knows of nobody does not speak for the others', async () => {
  const [one, empty] = nodes as [SmallNode, SmallNode]
  empty.ownerPort = 0
  const { events, ask } = open(one, empty)
  for (let round = 0; round < 5; round += 1) {
    expect((await ask(20_000))[2]).toBe(one.port)
    const asked = one.maps + empty.maps
    // Lost, and there again: so it is asked who has what now.
    one.cut()
    await vi.waitFor(() => {
      expect(one.maps + empty.maps).toBeGreaterThanOrEqual(asked + 2)
      expect(events.at(-1)).toBe('back')
    }, 20_000)
  }
  expect(events).not.toContain(noMap)
})

test('while the question who has what is open it is not asked again, however many calls fail, and then once', async () => {
  const [one] = nodes as [SmallNode, SmallNode]
  const { ask } = open(one)
  await ask(20_000)
  const timers = vi.spyOn(globalThis, 'setTimeout')
  one.holds = true
  one.ownerPort = undefined
  const { maps } = one
  const untilAsked = (times: number) =>
    vi.waitFor(
      async () => {
        await ask(1).catch(() => undefined)
        expect(one.maps).toBe(maps + times)
      },
      { timeout: 20_000, interval: 10 },
    )
  await untilAsked(1)
  timers.mockClear()
  await untilAsked(2)
  const immediate = timers.mock.calls.filter(([, delayMs]) => (delayMs ?? 0) < 1)
  timers.mockRestore()
  expect(immediate.length).toBeLessThan(10)
})

test('what fails while the question is open has it asked once more: the answer may be older', async () => {
  const [one] = nodes as [SmallNode, SmallNode]
  const { ask } = open(one)
  await ask(20_000)
  one.holds = true
  one.ownerPort = undefined
  const { maps } = one
  await expect(ask(1)).rejects.toThrow(DependencyError)
  await vi.waitFor(() => {
    expect(one.unsaid.length).toBe(1)
  }, 20_000)
  await expect(ask(1)).rejects.toThrow(DependencyError)
  one.ownerPort = one.port
  for (const socket of one.unsaid) one.say(socket)
  await vi.waitFor(() => {
    expect(one.maps).toBe(maps + 2)
  }, 20_000)
})

test('a node that has answered as the owner of a slot, if with an error, has it asked of nobody whose that is', async () => {
  const [one] = nodes as [SmallNode, SmallNode]
  let aheadMs = 0
  const { ask } = open(one)
  store.close()
  const clock = { ...systemClock, monotonicMs: () => systemClock.monotonicMs() + aheadMs }
  store = openStore(clusterOf(one), { clock, random: Math.random })
  await ask(20_000)
  // It may be asked at once.
  aheadMs += 1000
  const timers = vi.spyOn(globalThis, 'setTimeout')
  const asksSoon = async (error: string): Promise<boolean> => {
    one.errors.push(error)
    timers.mockClear()
    await expect(ask(20_000)).rejects.toThrow(error.split(' ')[0])
    return timers.mock.calls.some(([, delayMs]) => (delayMs ?? 0) < 1000)
  }
  expect(await asksSoon('WRONGTYPE Operation against a key')).toBe(false)
  expect(await asksSoon('OOM command not allowed')).toBe(false)
  expect(await asksSoon('LOADING Redis is loading')).toBe(true)
  timers.mockRestore()
})

test('a question that fails when the store is closed is told to nobody', async () => {
  const [one] = nodes as [SmallNode, SmallNode]
  one.ownerPort = undefined
  const { events } = open(one)
  await vi.waitFor(() => {
    expect(one.maps).toBe(1)
  }, 20_000)
  store.close()
  one.cut()
  for (let turn = 0; turn < 20; turn += 1) await new Promise(setImmediate)
  expect(events).toEqual([])
})
