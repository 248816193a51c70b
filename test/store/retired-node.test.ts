import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { systemClock } from '../../src/clock.js'
import { DependencyError } from '../../src/errors.js'
import { createScript, openStore, UnansweredError } from '../../src/store/store.js'
import type { Reply, Store } from '../../src/store/store.js'
import { clusterOf, startSmallNode } from './small-node.js'
import type { SmallNode } from './small-node.js'

// A real node that leaves its cluster is quicker with its answers than with leaving.

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

test('as long as a node is lost it is asked who has what now, though no call comes', async () => {
  const [one, other] = nodes as [SmallNode, SmallNode]
  const events: string[] = []
  store = openStore(clusterOf(one), {
    clock: systemClock,
    random: Math.random,
    onUnavailable: () => events.push('lost'),
    onAvailable: () => events.push('back'),
  })
  const ask = (timeoutMs: number): Promise<Reply> =>
    store.run(createScript('return 1'), ['a'], () => [], systemClock.monotonicMs() + timeoutMs)
  await ask(20_000)
  one.holds = true
  for (let call = 0; call < 6; call += 1) await expect(ask(1)).rejects.toThrow(DependencyError)
  expect(events).toEqual(['lost'])
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
      expect(events).toEqual(['lost', 'back'])
    },
    { timeout: 20_000 },
  )
})
