import { describe, expect, test, vi } from 'vitest'
import { systemClock } from '../../src/clock.js'
import { DependencyError, PartError } from '../../src/errors.js'
import { createBuckets } from '../../src/quota/redis/buckets.js'
import { createFailoverLedger } from '../../src/quota/failover/failover-ledger.js'
import type { Hold, Ledger, ReserveRequest } from '../../src/quota/ledger.js'
import { createMemoryLedger } from '../../src/quota/memory/memory-ledger.js'
import { createRedisLedger } from '../../src/quota/redis/redis-ledger.js'
import { loadRedisScripts } from '../../src/quota/redis/scripts.js'
import { createSlicedLedger } from '../../src/quota/slices/sliced-ledger.js'
import { openStore, UnansweredError } from '../../src/store/store.js'
import type { Store } from '../../src/store/store.js'
import { onEmptyRedis } from './on-redis.js'
import { calendar, holdOf, quotaOf } from './quotas.js'
import { greedy } from './slicing.js'

// However often a request asks the store, one moment says when it is answered.

const on = onEmptyRedis()

const scripts = loadRedisScripts()
const nameOf = new Map(Object.entries(scripts).map(([name, { digest }]) => [digest, name]))
const atMs = Date.parse('2026-02-02T00:00:00Z')

interface Asked {
  readonly script: string
  readonly dueMs: number
}

type Run = Store['run']

/** A store that writes down what it is asked; `around` says what becomes of each call. */
function recorded(around: (script: string, run: () => ReturnType<Run>) => ReturnType<Run>) {
  const store = openStore(on.redis.address, { clock: systemClock, random: Math.random })
  const asked: Asked[] = []
  const recording: Store = {
    ...store,
    run: (...call) => {
      const script = nameOf.get(call[0].digest) ?? 'another'
      asked.push({ script, dueMs: call[3] })
      return around(script, () => store.run(...call))
    },
  }
  return { store: recording, asked }
}

/** The buckets of a cluster, on one server: its calls are as many, and as apart. */
const buckets = createBuckets(256)
const options = { clock: systemClock, timeoutMs: 5000, moments: 'given' } as const

function open(
  around: (script: string, run: () => ReturnType<Run>) => ReturnType<Run> = (_, run) => run(),
  differences: { readonly timeoutMs?: number } = {},
) {
  const { store, asked } = recorded(around)
  const ledger = createRedisLedger<string>({ ...options, ...differences, store, buckets })
  on.ledgers.push(ledger)
  return { ledger, asked }
}

const [home, away] = [0, 200].map((bucket) => {
  const quota = quotaOf({ name: `of ${String(bucket)}`, window: calendar('month') })
  for (let number = 0; ; number += 1) {
    const hold = holdOf(quota, 10, String(number))
    if (buckets.ofPartition(hold.partitionKey) === bucket) return hold
  }
}) as [Hold, Hold]

function requestOf(id: string, holds: readonly Hold[], dueMonotonicMs?: number) {
  const request = { id, idempotencyKey: `stream ${id}`, holds, context: '', leaseMs: 60_000 }
  return dueMonotonicMs === undefined ? request : { ...request, dueMonotonicMs }
}

const soon = (ms = 5000): number => systemClock.monotonicMs() + ms

async function reservedAt(holds: readonly Hold[]): Promise<readonly number[]> {
  const balances = await open().ledger.balances(holds, atMs)
  return balances.map(({ reserved }) => reserved)
}

function eventually<T>(ask: () => Promise<T> | T): Promise<T> {
  return vi.waitFor(ask, { timeout: 20_000, interval: 10 })
}

/** Opens when it is told to. */
function createGate() {
  let open = (): void => undefined
  const opened = new Promise<void>((resolve) => {
    open = resolve
  })
  return { open, opened }
}

describe('a call in parts', () => {
  test('keeps a quarter of its time for what follows their answers', async () => {
    const { ledger, asked } = open()
    const beginsMs = systemClock.monotonicMs()
    const dueMs = beginsMs + 4000
    await ledger.reserve(requestOf('first', [home, away], dueMs), atMs)
    expect(asked.map(({ script }) => script)).toEqual(['reserve', 'reserve'])
    for (const each of asked) {
      expect(each.dueMs).toBeGreaterThanOrEqual(beginsMs + 3000)
      expect(each.dueMs).toBeLessThan(dueMs)
    }
  })

  test('looks at an earlier one within the same time', async () => {
    const dueMs = soon()
    await open().ledger.reserve(requestOf('first', [home, away]), atMs)
    const { ledger, asked } = open()
    const repeat = { ...requestOf('second', [home, away], dueMs), idempotencyKey: 'stream first' }
    expect(await ledger.reserve(repeat, atMs)).toMatchObject({ kind: 'held', repeated: true })
    const last = asked.at(-1)
    expect(last).toEqual({ script: 'join', dueMs })
  })

  test('in one part, and without more to ask, has all of it', async () => {
    const { ledger, asked } = open()
    const dueMs = soon()
    await ledger.reserve(requestOf('first', [home], dueMs), atMs)
    expect(asked).toEqual([{ script: 'reserve', dueMs }])
  })

  test('is answered though what it held is not back yet, which has its own time', async () => {
    const { opened, open: answer } = createGate()
    const { ledger, asked } = open(async (script, run) => {
      if (script === 'end') await opened
      return run()
    })
    const full = { ...away, amount: 101 }
    const dueMs = soon(400)
    const short = await ledger.reserve(requestOf('first', [home, full], dueMs), atMs)
    expect(short).toMatchObject({ kind: 'short', quota: { name: away.quota.name } })
    expect(await reservedAt([home, away])).toEqual([10, 0])
    expect(asked.at(-1)?.script).toBe('end')
    expect(asked.at(-1)?.dueMs).toBeGreaterThan(dueMs)
    answer()
    await eventually(async () => {
      expect(await reservedAt([home, away])).toEqual([0, 0])
    })
  })

  test('forgets none of what is to be given back, when that fails after the answer', async () => {
    const { opened, open: answer } = createGate()
    let reserves = 0
    let ends = 0
    let isAway = true
    const { ledger } = open(async (script, run) => {
      if (script === 'end' && isAway) {
        if ((ends += 1) === 1) await opened
        throw new DependencyError('ledger', 'it is away')
      }
      const reply = await run()
      if (script === 'reserve' && (reserves += 1) === 2) throw new UnansweredError('lost')
      return reply
    })
    const failed = ledger.reserve(requestOf('first', [home, away], soon(600)), atMs)
    await expect(failed).rejects.toThrow(DependencyError)
    expect(await reservedAt([home, away])).toEqual([10, 10])
    await eventually(() => {
      expect(ends).toBe(2)
    })
    answer()
    await expect(ledger.expire(atMs)).rejects.toThrow('it is away')
    isAway = false
    await ledger.expire(atMs)
    expect(await reservedAt([home, away])).toEqual([0, 0])
  })
})

test('where no time is left the store is not asked', async () => {
  const { ledger, asked } = open()
  const late = ledger.reserve(requestOf('first', [home], systemClock.monotonicMs()), atMs)
  await expect(late).rejects.toMatchObject({ name: 'DependencyError', dependency: 'ledger' })
  expect(asked).toEqual([])
})

test('a look for what is used up asks nothing of the store', async () => {
  const { ledger, asked } = open()
  const request = requestOf('first', [{ ...home, amount: 100 }])
  expect(await ledger.exhausted(request, atMs)).toBeUndefined()
  expect(asked).toEqual([])
  await ledger.reserve(request, atMs)
  asked.length = 0
  expect(await ledger.exhausted(requestOf('second', [home]), atMs)).toMatchObject({ kind: 'short' })
  expect(asked).toEqual([])
})

test('a request is due once, also where the rest of its quotas is asked alone', async () => {
  const requests: ReserveRequest<string>[] = []
  const main: Ledger<string> = {
    ...createMemoryLedger<string>(),
    async reserve(request) {
      requests.push(request)
      throw new PartError('ledger', 'a part is away', [1])
    },
  }
  let made = 0
  const guarded = createFailoverLedger({
    main,
    local: {
      ledger: createMemoryLedger<string>(),
      processes: { census: () => Promise.reject(new DependencyError('ledger', 'not asked')) },
      atLeast: 1,
      dueMonotonicMs: () => (made += 1),
    },
  })
  const passes = { ...away, quota: { ...away.quota, onStoreFailure: 'allow' as const } }
  await guarded.reserve(requestOf('first', [home, passes]), atMs)
  expect(requests.map(({ dueMonotonicMs }) => dueMonotonicMs)).toEqual([1, 1])
})

describe('a request that slices could decide', () => {
  const sliced = holdOf(quotaOf({ slices: true }), 10)

  function openSliced(
    around: (script: string, run: () => ReturnType<Run>) => ReturnType<Run> = (_, run) => run(),
  ) {
    const { store, asked } = recorded(around)
    const parts = { ...options, store }
    const ledger = createSlicedLedger<string>({
      ...parts,
      ledger: createRedisLedger<string>(parts),
      random: Math.random,
      tuning: { ...greedy, isSliced: ({ slices }) => slices === true },
    })
    on.ledgers.push(ledger)
    return { ledger, asked }
  }

  test('is due once, also where it is asked again with what other requests have given back', async () => {
    const { ledger, asked } = openSliced()
    await ledger.reserve(requestOf('first', [sliced]), atMs)
    asked.length = 0
    const more = holdOf(quotaOf({ name: 'not sliced' }), 1)
    const dueMs = soon()
    // What is free of the first is in a slice here, so Redis is short until it is given back.
    const both = requestOf('second', [sliced, more], dueMs)
    expect(await ledger.reserve(both, atMs)).toMatchObject({ kind: 'held' })
    const decisions = asked.filter(({ script }) => script === 'reserve')
    expect(decisions).toEqual([1, 2].map(() => ({ script: 'reserve', dueMs })))
  })

  test('does not wait for a slice beyond its time, and the slice comes all the same', async () => {
    const { opened, open: answer } = createGate()
    const { ledger, asked } = openSliced(async (script, run) => {
      if (script === 'turn') await opened
      return run()
    })
    const late = ledger.reserve(requestOf('first', [sliced], soon(100)), atMs)
    await expect(late).rejects.toMatchObject({ name: 'UnansweredError' })
    expect(asked.map(({ script }) => script)).toEqual(['turn'])
    answer()
    await eventually(async () => {
      expect(await ledger.reserve(requestOf('next', [sliced], soon()), atMs)).toMatchObject({
        kind: 'held',
      })
      expect(asked.map(({ script }) => script)).not.toContain('reserve')
    })
  })
})
