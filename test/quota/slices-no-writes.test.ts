import { expect, test, vi } from 'vitest'
import { systemClock } from '../../src/clock.js'
import { DependencyError, UndecidedError } from '../../src/errors.js'
import type { Ledger } from '../../src/quota/ledger.js'
import { createRedisLedger } from '../../src/quota/redis/redis-ledger.js'
import { createSlicedLedger } from '../../src/quota/slices/sliced-ledger.js'
import { openStore } from '../../src/store/store.js'
import { onEmptyRedis } from './on-redis.js'
import { calendar, holdOf, quotaOf } from './quotas.js'

// What was decided from slices while Redis answers and takes no writes: it says of none that it knows nothing of it.

const on = onEmptyRedis()
const { closeAll } = on

const atMs = Date.parse('2026-02-02T00:00:00Z')
const quota = quotaOf({ name: 'month', limit: 100_000, window: calendar('month') })
const requestOf = (id: string) => ({
  ...{ id, idempotencyKey: `stream ${id}`, context: id, leaseMs: 600_000 },
  holds: [holdOf(quota, 10)],
})

function open(): Ledger<string> {
  const store = openStore(on.redis.address, { clock: systemClock, random: Math.random })
  const parts = { store, clock: systemClock, timeoutMs: 5000, moments: 'given' as const }
  const tuning = { isSliced: () => true, warmMs: Infinity }
  const plain = createRedisLedger<string>(parts)
  const ledger = createSlicedLedger({ ...parts, ledger: plain, random: Math.random, tuning })
  on.ledgers.push(ledger)
  return ledger
}

const config = (key: string, value: string): Promise<unknown> =>
  on.redis.client.config('SET', key, value)

function eventually<T>(ask: () => Promise<T> | T): Promise<T> {
  return vi.waitFor(ask, { timeout: 20_000, interval: 10 })
}

interface Fault {
  readonly said: RegExp
  readonly fail: () => Promise<unknown>
  readonly mend: () => Promise<unknown>
}

const faults: Readonly<Record<string, Fault>> = {
  'has too few replicas': {
    said: /NOREPLICAS/,
    fail: () => config('min-replicas-to-write', '1'),
    mend: () => config('min-replicas-to-write', '0'),
  },
  'is a replica': {
    // It is left at once, and asked for again.
    said: /READONLY|no connection/,
    fail: () => on.redis.client.replicaof('127.0.0.1', 1),
    mend: () => on.redis.client.replicaof('NO', 'ONE'),
  },
  'cannot save': {
    said: /MISCONF/,
    async fail() {
      on.redis.loseDirectory()
      await config('save', '3600 1')
      await on.redis.client.bgsave()
      await eventually(async () => {
        expect(await on.redis.client.info('persistence')).toContain('rdb_last_bgsave_status:err')
      })
    },
    mend: () => config('save', ''),
  },
}

test.each(Object.entries(faults))(
  'a Redis that %s fails for the report of what it is not told, and ends it once when it takes writes',
  async (_, { said, fail, mend }) => {
    const [ledger, other] = [open(), open()]
    await ledger.reserve(requestOf('first'), atMs)
    await ledger.end('first', { kind: 'released' }, atMs)
    // It has answered before it takes no writes.
    expect(await other.find('first', atMs)).toBeUndefined()
    await fail()
    const held = await ledger.reserve(requestOf('a'), atMs)
    expect(held).toMatchObject({ kind: 'held' })
    if (held.kind !== 'held') return
    const { id } = held.reservation
    await expect(ledger.expire(atMs)).rejects.toThrow(said)
    const refused = await other.find(id, atMs).catch((error: unknown) => error)
    expect(refused).toMatchObject({ message: expect.stringMatching(said) as string })
    // As a report of a Redis that is away it is tried until that is back, not ten times.
    expect(refused).toBeInstanceOf(DependencyError)
    expect(refused).not.toBeInstanceOf(UndecidedError)
    await mend()
    await eventually(() => ledger.expire(atMs))
    const settled = { kind: 'settled', inputTokens: 4, outputTokens: 0 } as const
    await eventually(() => other.find(id, atMs))
    expect(await other.end(id, settled, atMs)).toMatchObject({ outcome: 'settled' })
    expect(await other.end(id, settled, atMs)).toBeUndefined()
    await closeAll()
    const [balance] = await open().balances([holdOf(quota, 0)], atMs)
    expect(balance).toMatchObject({ spent: 4, reserved: 0 })
  },
)
