import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { systemClock } from '../../src/clock.js'
import { UndecidedError } from '../../src/errors.js'
import type { Ledger } from '../../src/quota/ledger.js'
import { createRedisLedger } from '../../src/quota/redis/redis-ledger.js'
import { storedReservation } from '../../src/quota/redis/stored-keys.js'
import { createSlicedLedger } from '../../src/quota/slices/sliced-ledger.js'
import { isOfOneCall, openStore, UnansweredError } from '../../src/store/store.js'
import type { Store } from '../../src/store/store.js'
import { onRedis } from './on-redis.js'
import { holdOf, quotaOf } from './quotas.js'
import { greedy } from './slicing.js'

// What is due once a second, while some of it fails time after time.

const on = onRedis()
const ledgers: Ledger<string>[] = []
beforeEach(() => on.redis.client.flushall())
afterEach(async () => {
  for (const ledger of ledgers.splice(0)) await ledger.close()
})

const leaseMs = 10_000
const quota = quotaOf({ limit: 100 })
let nowMs: number
beforeEach(() => {
  nowMs = Date.now()
})

/** What is asked of one reservation alone gets no answer. */
function withoutAnswerFor(id: string, store: Store): Store {
  return {
    ...store,
    async run(script, keys, ...rest) {
      if (keys[0] === storedReservation(id)) throw new UnansweredError('no answer')
      return store.run(script, keys, ...rest)
    },
  }
}

function open(kind: 'plain' | 'sliced', stuck?: string): Ledger<string> {
  const inner = openStore(on.redis.address, { clock: systemClock, random: Math.random })
  const store = stuck === undefined ? inner : withoutAnswerFor(stuck, inner)
  const times = { timeoutMs: 5000, moments: 'given', rememberEndedMs: 1000 } as const
  const parts = { store, clock: systemClock, ...times }
  const plain = createRedisLedger<string>(parts)
  const sliced = { ...parts, ledger: plain, random: Math.random, tuning: greedy }
  const ledger = kind === 'plain' ? plain : createSlicedLedger(sliced)
  ledgers.push(ledger)
  return ledger
}

function requestOf(id: string, amount = 10) {
  const holds = [holdOf(quota, amount)]
  return { id, idempotencyKey: `stream ${id}`, holds, context: `context of ${id}`, leaseMs }
}

const settled = { kind: 'settled', inputTokens: 100, outputTokens: 0 } as const

/** With one that can never be given back. */
async function openStuck(kind: 'plain' | 'sliced'): Promise<Ledger<string>> {
  const ledger = open(kind, 'stuck')
  await expect(ledger.abandon('stuck', nowMs)).rejects.toThrow(UnansweredError)
  return ledger
}

describe.each(['plain', 'sliced'] as const)('the %s ledger', (kind) => {
  test('forgets what is due, though something fails each time', async () => {
    const ledger = await openStuck(kind)
    for (const id of ['a', 'b']) await ledger.reserve(requestOf(id), nowMs)
    nowMs += leaseMs
    const unsettled = await ledger.expire(nowMs)
    expect(unsettled.map(({ reservation: { id } }) => id).sort()).toEqual(['a', 'b'])
    expect(ledger.size().reservations).toBe(2)
    nowMs += 2 * leaseMs
    await expect(ledger.expire(nowMs)).rejects.toThrow(UnansweredError)
    expect(ledger.size().reservations).toBe(0)
  })

  test('forgets the keys of what has ended, though something fails each time', async () => {
    const ledger = await openStuck(kind)
    await ledger.reserve(requestOf('a', 100), nowMs)
    await ledger.end('a', settled, nowMs)
    const isExhausted = async (): Promise<boolean> => {
      await ledger.balances(requestOf('a').holds, nowMs)
      return (await ledger.exhausted(requestOf('a'), nowMs)) !== undefined
    }
    // Its first reservation is the one that used all of it.
    expect(await isExhausted()).toBe(false)
    for (let times = 0; times < 2; times += 1) {
      nowMs += 1000
      await expect(ledger.expire(nowMs)).rejects.toThrow(UnansweredError)
    }
    expect(await isExhausted()).toBe(true)
  })

  test('tells what has failed beside what has ended', async () => {
    const ledger = await openStuck(kind)
    await ledger.reserve(requestOf('a'), nowMs)
    const failures: unknown[] = []
    const unsettled = await ledger.expire(nowMs + leaseMs, (error) => failures.push(error))
    expect(unsettled.map(({ outcome }) => outcome)).toEqual(['unsettled'])
    expect(failures).toEqual([expect.any(UnansweredError)])
  })
})

describe('a reservation that cannot be read', () => {
  /** Three by another process, of which the second is spoilt in Redis. */
  async function openBeside(change: (stored: string) => string): Promise<Ledger<string>> {
    const other = open('plain')
    for (const id of ['a', 'b', 'c']) await other.reserve(requestOf(id), nowMs)
    const key = storedReservation('b')
    const stored = await on.redis.client.getBuffer(key)
    const spoilt = change(stored?.toString('latin1') ?? '')
    await on.redis.client.set(key, Buffer.from(spoilt, 'latin1'), 'KEEPTTL')
    return open('plain')
  }

  test.each([
    ['context', (stored: string) => stored.replace('"context of b"', '"context of b!')],
    ['quotas', (stored: string) => stored.replace('"limit":100', '"limit":1!0')],
  ])('keeps no other from being told, and is a failure: %s', async (_, change) => {
    const ledger = await openBeside(change)
    const failures: unknown[] = []
    const ended = await ledger.expire(nowMs + leaseMs, (error) => failures.push(error))
    expect(ended.map(({ reservation: { id } }) => id).sort()).toEqual(['a', 'c'])
    expect(failures).toEqual([expect.any(UndecidedError)])
    expect(String(failures[0])).not.toMatch(/JSON|context of/)
    expect((failures[0] as Error).cause).toBeUndefined()
  })

  test('fails its report as one that is kept, and given up after some tries', async () => {
    const ledger = await openBeside((stored) => stored.replace('"context of b"', '"context of b!'))
    const failure: unknown = await ledger.end('b', settled, nowMs).catch((error: unknown) => error)
    expect(failure).toBeInstanceOf(UndecidedError)
    expect(isOfOneCall(failure)).toBe(true)
  })
})
