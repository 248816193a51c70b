import { afterEach, beforeEach, expect, test } from 'vitest'
import { systemClock } from '../../src/clock.js'
import { DependencyError } from '../../src/errors.js'
import { createScript, openStore, UnansweredError } from '../../src/store/store.js'
import type { Reply, Store } from '../../src/store/store.js'
import { clusterOf, startSmallNode } from './small-node.js'
import type { SmallNode } from './small-node.js'

// No real cluster sends a call in a circle for as long as a test looks.

let node: SmallNode
let store: Store
beforeEach(async () => {
  node = await startSmallNode(1_700_000_000)
  store = openStore(clusterOf(node), { clock: systemClock, random: Math.random })
})
afterEach(() => {
  store.close()
  node.stop()
})

const script = createScript('return 1')
const ask = (): Promise<Reply> =>
  store.run(script, ['a'], () => [], systemClock.monotonicMs() + 20_000)
const toItself = (kind: string): string => `${kind} 15495 127.0.0.1:${String(node.port)}`
const tryAgain = 'TRYAGAIN Multiple keys request during rehashing of slot'

test.each([
  ['MOVED', 0],
  ['ASK', 1],
  ['TRYAGAIN', 0],
] as const)(
  '%s is followed once: where it comes again the call has failed',
  async (kind, asking) => {
    const error = kind === 'TRYAGAIN' ? tryAgain : toItself(kind)
    node.errors.push(error, error)
    const failed = await ask().catch((thrown: unknown) => thrown)
    expect(failed).toBeInstanceOf(DependencyError)
    // Nothing has run.
    expect(failed).not.toBeInstanceOf(UnansweredError)
    expect(failed).toMatchObject({ message: `Redis answered ${kind}` })
    expect({ scripts: node.scripts, asking: node.asking }).toEqual({ scripts: 2, asking })
    expect((await ask())[2]).toBe(node.port)
  },
)

test('one after the other each of them is followed, and then none', async () => {
  node.errors.push(toItself('MOVED'), tryAgain, toItself('ASK'))
  expect((await ask())[2]).toBe(node.port)
  expect(node.scripts).toBe(4)
  node.errors.push(toItself('MOVED'), tryAgain, toItself('ASK'), toItself('MOVED'))
  await expect(ask()).rejects.toThrow('Redis answered MOVED')
  expect(node.scripts).toBe(8)
})
