import { beforeEach, describe, expect, test } from 'vitest'
import { DependencyError, PartError, UndecidedError } from '../../src/errors.js'
import { createFailoverLedger } from '../../src/quota/failover/failover-ledger.js'
import { createFullLedger } from '../../src/quota/failover/full-ledger.js'
import type { GuardedLedger } from '../../src/quota/failover/guarded-ledger.js'
import type { Processes } from '../../src/quota/failover/processes.js'
import type { End, Hold, Ledger, ReserveRequest } from '../../src/quota/ledger.js'
import { createMemoryLedger } from '../../src/quota/memory/memory-ledger.js'
import type { MemoryLedgerOptions } from '../../src/quota/memory/memory-ledger.js'
import type { OnStoreFailure } from '../../src/quota/quota.js'
import { halfOfAll } from './claims-model.js'
import { describeLedger } from './ledger.contract.js'
import { calendar, holdOf, quotaOf } from './quotas.js'
import { createSmallStore } from './small-store.js'
import type { SmallProcess, SmallStore } from './small-store.js'

/** No ledger here has a store to wait for. */
const dueMonotonicMs = (): number => Infinity

/** The same, where no quota is ever left unasked. */
function asLedger(guarded: GuardedLedger<string>): Ledger<string> {
  const asked = <Answer extends object>(
    answer: Answer | undefined,
  ): Exclude<Answer, { kind: 'unavailable' }> | undefined => {
    if (answer !== undefined && 'kind' in answer && answer.kind === 'unavailable') {
      throw new Error('a quota was not asked')
    }
    return answer as Exclude<Answer, { kind: 'unavailable' }> | undefined
  }
  return {
    ...guarded,
    exhausted: async (...args) => asked(await guarded.exhausted(...args)),
    reserve: async (...args) => {
      const answer = asked(await guarded.reserve(...args))
      if (answer === undefined) throw new Error('no answer')
      return answer
    },
  }
}

describeLedger('a ledger over one that answers', () => asLedger(createSmallStore(0).join().ledger))
describeLedger('a ledger over one in memory', () =>
  asLedger(createFullLedger(createMemoryLedger())),
)

const startMs = Date.parse('2026-02-02T00:00:00Z')
const settled = (tokens: number): End => ({
  kind: 'settled',
  inputTokens: tokens,
  outputTokens: 0,
})

function quotaThat(onStoreFailure: OnStoreFailure, changes = {}) {
  return quotaOf({
    name: onStoreFailure,
    limit: 100,
    window: calendar('day'),
    onStoreFailure,
    ...changes,
  })
}
const [denying, local, allowing] = [quotaThat('deny'), quotaThat('local'), quotaThat('allow')]

function requestOf(id: string, holds: readonly Hold[]): ReserveRequest<string> {
  return { id, idempotencyKey: `stream ${id}`, holds, context: id, leaseMs: 60_000 }
}

let store: SmallStore
let one: SmallProcess
let nowMs: number

/** Four processes, for long enough that each has its share. */
async function fourProcesses(
  options: { local?: MemoryLedgerOptions } = {},
): Promise<SmallProcess[]> {
  store = createSmallStore(startMs + 5_000_000)
  const processes = [0, 1, 2, 3].map(() => store.join(options))
  await upkeep(processes, 11)
  return processes
}

async function upkeep(processes: readonly SmallProcess[], seconds: number): Promise<void> {
  for (let second = 0; second < seconds; second += 1) {
    for (const { ledger } of processes) await ledger.expire(nowMs).catch(() => undefined)
    nowMs += 1000
    store.atMs += 1000
  }
}

const reserve = (id: string, ...holds: readonly Hold[]) =>
  one.ledger.reserve(requestOf(id, holds), nowMs)

beforeEach(async () => {
  nowMs = startMs
  const processes = await fourProcesses()
  one = processes[0] as SmallProcess
})

describe('while the store answers', () => {
  test('it alone counts, to the whole limit', async () => {
    const held = await reserve('a', holdOf(local, 100))
    expect(held).toMatchObject({ kind: 'held', reservation: { id: 'a' } })
    expect(held).not.toHaveProperty('fallback')
    expect(one.local.size().reservations).toBe(0)
  })
})

describe('while the store is away', () => {
  beforeEach(() => {
    store.isUp = false
  })

  test('a quota that says deny refuses, whatever the others say, and nothing is held', async () => {
    const answer = await reserve('a', holdOf(allowing, 1), holdOf(local, 1), holdOf(denying, 1))
    expect(answer).toEqual({
      kind: 'unavailable',
      quota: denying,
      why: 'store',
      fault: 'it is away',
    })
    expect(one.local.size()).toMatchObject({ partitions: 0, reservations: 0 })
  })

  test('a quota that says nothing denies', async () => {
    const silent = quotaOf()
    expect(await reserve('a', holdOf(silent, 1))).toMatchObject({
      kind: 'unavailable',
      quota: silent,
    })
  })

  test('a quota that says local holds a share of its limit, and says whose it is', async () => {
    expect(await reserve('a', holdOf(local, 20))).toMatchObject({
      kind: 'held',
      repeated: false,
      balances: [{ quota: { name: 'local', limit: 25 }, reserved: 20, remaining: 5 }],
      fallback: { why: 'store', fault: 'it is away', localQuotas: ['local'], uncountedQuotas: [] },
    })
    expect(await reserve('b', holdOf(local, 6))).toMatchObject({
      kind: 'unavailable',
      quota: { name: 'local' },
      why: 'share',
    })
    expect(await reserve('c', holdOf(local, 5))).toMatchObject({ kind: 'held' })
  })

  test('a request that is larger than the share is refused as one that may fit again', async () => {
    expect(await reserve('a', holdOf(local, 26))).toMatchObject({
      kind: 'unavailable',
      why: 'share',
    })
  })

  test('a share that is rounded down to nothing holds nothing', async () => {
    const small = quotaThat('local', { name: 'small', limit: 3 })
    expect(await reserve('a', holdOf(small, 0))).toMatchObject({
      kind: 'unavailable',
      why: 'share',
    })
  })

  test('a quota that says allow is not counted, and the reservation ends like any other', async () => {
    const held = await reserve('a', holdOf(allowing, 1000))
    expect(held).toMatchObject({
      kind: 'held',
      balances: [],
      reservation: { holds: [] },
      fallback: { localQuotas: [], uncountedQuotas: ['allow'] },
    })
    if (held.kind !== 'held') throw new Error('not held')
    const { id } = held.reservation
    expect(await one.ledger.find(id, nowMs)).toMatchObject({ context: 'a' })
    expect(await one.ledger.end(id, settled(3), nowMs)).toMatchObject({ outcome: 'settled' })
    expect(await one.ledger.end(id, settled(3), nowMs)).toBeUndefined()
  })

  test('a shadow quota refuses nothing, and says that it would have', async () => {
    const shadows = [
      quotaThat('deny', { name: 'd', shadow: true }),
      quotaThat('local', { name: 'l', shadow: true }),
      quotaThat('local', { name: 'tiny', shadow: true, limit: 1 }),
      quotaThat('allow', { name: 'a', shadow: true }),
    ]
    const held = await reserve('a', ...shadows.map((quota) => holdOf(quota, 26)))
    expect(held).toMatchObject({
      kind: 'held',
      fallback: { localQuotas: ['l'], uncountedQuotas: ['d', 'tiny', 'a'] },
    })
    expect(held.kind === 'held' && held.shadowShort.map(({ name }) => name)).toEqual([
      'l',
      'd',
      'tiny',
    ])
  })

  test('exhausted refuses early where a quota says deny, and leaves the others to the reservation', async () => {
    const ask = (...holds: readonly Hold[]) =>
      one.ledger.exhausted({ holds, idempotencyKey: 'x' }, nowMs)
    // The small store's own ledger would ask itself; Redis answers it from memory.
    expect(await ask(holdOf(local, 0), holdOf(denying, 0))).toMatchObject({
      kind: 'unavailable',
      quota: denying,
      why: 'store',
    })
    expect(await ask(holdOf(local, 0), holdOf(allowing, 0))).toBeUndefined()
    expect(await ask(holdOf({ ...denying, shadow: true }, 0))).toBeUndefined()
  })

  test('a process that is new, or has not reached the store, has no share', async () => {
    one = store.join()
    expect(await reserve('a', holdOf(local, 1))).toMatchObject({
      kind: 'unavailable',
      why: 'share',
    })
    store.isUp = true
    await upkeep([one], 1)
    store.isUp = false
    expect(await reserve('a', holdOf(local, 1))).toMatchObject({
      kind: 'unavailable',
      why: 'share',
    })
  })

  test('a reservation of before waits for the store, and one of now does not', async () => {
    store.isUp = true
    await reserve('before', holdOf(local, 50))
    store.isUp = false
    await expect(one.ledger.end('before', settled(1), nowMs)).rejects.toThrow(DependencyError)
    const held = await reserve('now', holdOf(local, 10))
    if (held.kind !== 'held') throw new Error('not held')
    const { id } = held.reservation
    expect(id).not.toBe('now')
    expect(await one.ledger.end(id, settled(4), nowMs)).toMatchObject({
      outcome: 'settled',
      charges: [{ actual: 4, debt: 0 }],
    })
    store.isUp = true
    expect(await one.ledger.end('before', settled(1), nowMs)).toMatchObject({ outcome: 'settled' })
    expect(await store.ledger().balances([holdOf(local, 0)], nowMs)).toMatchObject([
      { spent: 1, reserved: 0 },
    ])
  })

  test('an answer that reached nobody gives back what the share holds', async () => {
    const held = await reserve('a', holdOf(local, 25))
    if (held.kind !== 'held') throw new Error('not held')
    await one.ledger.abandon(held.reservation.id, nowMs)
    expect(await reserve('b', holdOf(local, 25))).toMatchObject({ kind: 'held' })
  })

  test('a lease ends what the share holds, and is told though the store fails', async () => {
    await reserve('a', holdOf(local, 25))
    nowMs += 60_000
    expect(await one.ledger.expire(nowMs)).toMatchObject([{ outcome: 'unsettled' }])
    await expect(one.ledger.expire(nowMs)).rejects.toThrow(DependencyError)
  })

  test('the same stream is held once, also when the store is back', async () => {
    const request = requestOf('a', [holdOf(local, 20), holdOf(allowing, 20)])
    const first = await one.ledger.reserve(request, nowMs)
    if (first.kind !== 'held') throw new Error('not held')
    const { idempotencyKey } = request
    for (const isUp of [false, true]) {
      store.isUp = isUp
      expect(await one.ledger.exhausted(request, nowMs)).toBeUndefined()
      expect(await one.ledger.reserve({ ...request, id: 'b' }, nowMs)).toMatchObject({
        kind: 'held',
        repeated: true,
        reservation: { id: first.reservation.id },
        fallback: { localQuotas: ['local'], uncountedQuotas: ['allow'] },
      })
    }
    expect(store.ledger().knows(idempotencyKey)).toBe(false)
  })
})

describe('a stream that the store holds already', () => {
  const request = requestOf('a', [holdOf(local, 20), holdOf(denying, 20), holdOf(allowing, 20)])
  const again = (changes = {}) =>
    one.ledger.reserve({ ...request, id: 'b', context: 'b', ...changes }, nowMs)

  beforeEach(async () => {
    expect(await one.ledger.reserve(request, nowMs)).toMatchObject({ kind: 'held' })
    store.isUp = false
  })

  test('is held by that when it is asked for again while the store is away, and by nothing else', async () => {
    expect(await one.ledger.exhausted(request, nowMs)).toBeUndefined()
    const answer = await again()
    expect(answer).toMatchObject({
      kind: 'held',
      repeated: true,
      reservation: { id: 'a', context: 'a', holds: request.holds },
      balances: [],
    })
    expect(answer).not.toHaveProperty('fallback')
    expect(one.local.size()).toMatchObject({ partitions: 0, reservations: 0 })
  })

  test('stays held when one of its two answers reached nobody', async () => {
    expect(await again()).toMatchObject({ carrier: 'b' })
    expect(await one.ledger.abandon('a', nowMs)).toBeUndefined()
    store.isUp = true
    expect(await one.ledger.abandon('a', nowMs)).toBeUndefined()
    expect(await one.ledger.end('a', settled(7), nowMs)).toMatchObject({ outcome: 'settled' })
  })

  test('is given back when all of its answers reached nobody, those of memory too', async () => {
    await again()
    store.isUp = true
    const third = await again({ id: 'c' })
    expect(third).toMatchObject({ repeated: true, carrier: 'c' })
    for (const carrier of ['a', 'c']) {
      expect(await one.ledger.abandon('a', nowMs, carrier)).toBeUndefined()
    }
    expect(await one.ledger.abandon('a', nowMs, 'b')).toMatchObject({ outcome: 'released' })
    expect(store.ledger().size()).toMatchObject({ reservations: 0 })
  })

  test('is not held by what is to be abandoned', async () => {
    await expect(one.ledger.abandon('a', nowMs)).rejects.toThrow(DependencyError)
    expect(await again()).toMatchObject({ kind: 'unavailable', quota: denying })
  })

  test.each([
    ['has ended', async () => one.ledger.end('a', settled(7), nowMs)],
    [
      'is forgotten after two leases',
      async () => {
        nowMs += 120_000
        await one.ledger.expire(nowMs)
      },
    ],
  ])('is asked for anew when it %s', async (_, pass) => {
    store.isUp = true
    await pass()
    store.isUp = false
    expect(await again()).toMatchObject({ kind: 'unavailable', quota: denying })
  })
})

test('what a share has held stays counted when the store is back and goes again', async () => {
  store.isUp = false
  await reserve('a', holdOf(local, 20))
  store.isUp = true
  await upkeep([one], 3)
  expect(await reserve('b', holdOf(local, 100))).toMatchObject({ kind: 'held' })
  store.isUp = false
  expect(await reserve('c', holdOf(local, 6))).toMatchObject({ kind: 'unavailable', why: 'share' })
  expect(await reserve('c', holdOf(local, 5))).toMatchObject({ kind: 'held' })
})

test('all shares together are the limit', async () => {
  const processes = await fourProcesses()
  store.isUp = false
  let admitted = 0
  for (const { ledger } of processes) {
    for (let tries = 0; tries < 30; tries += 1) {
      const id = `${String(processes.length)} ${String(admitted)} ${String(tries)}`
      const answer = await ledger.reserve(requestOf(id, [holdOf(local, 1)]), nowMs)
      if (answer.kind === 'held') admitted += 1
    }
  }
  expect(admitted).toBe(local.limit)
})

test('a failure that is not the store’s stays one', async () => {
  const broken = { ...createMemoryLedger<string>() }
  const errors = [
    new RangeError('misuse'),
    new DependencyError('audit', 'gone'),
    new UndecidedError('ledger', 'it answers, and says nothing'),
  ]
  for (const error of errors) {
    const main = {
      ...broken,
      reserve: () => Promise.reject(error),
      exhausted: () => Promise.reject(error),
    }
    const processes = { census: () => Promise.reject(error) }
    const ledger = createFailoverLedger({
      main,
      local: { ledger: createMemoryLedger<string>(), processes, atLeast: 1, dueMonotonicMs },
    })
    const request = requestOf('a', [holdOf(allowing, 1)])
    await expect(ledger.reserve(request, nowMs)).rejects.toBe(error)
    await expect(ledger.exhausted(request, nowMs)).rejects.toBe(error)
    await expect(ledger.expire(nowMs)).rejects.toBe(error)
  }
})

test('leases end though the processes cannot be counted, and that is told', async () => {
  const main = createMemoryLedger<string>()
  const gone = new DependencyError('ledger', 'no right to')
  const ledger = createFailoverLedger({
    main,
    local: {
      ledger: createMemoryLedger<string>(),
      processes: { census: () => Promise.reject(gone) },
      atLeast: 1,
      dueMonotonicMs,
    },
  })
  await ledger.reserve(requestOf('a', [holdOf(denying, 1)]), nowMs)
  expect(await ledger.expire(nowMs + 60_000)).toMatchObject([{ outcome: 'unsettled' }])
  await expect(ledger.expire(nowMs + 60_000)).rejects.toBe(gone)
})

test('what is held of a request without a part of its store is not what was asked for at first, which is abandoned late', async () => {
  const memory = createMemoryLedger<string>()
  let calls = 0
  const main: Ledger<string> = {
    ...memory,
    reserve: async (request, atMs) => {
      calls += 1
      if (calls === 1) throw new PartError('ledger', 'a node is away', [1])
      return memory.reserve(request, atMs)
    },
  }
  const processes = { census: () => Promise.reject(new DependencyError('ledger', 'not asked')) }
  const ledger = createFailoverLedger<string>({
    main,
    local: { ledger: createMemoryLedger(), processes, atLeast: 1, dueMonotonicMs },
  })
  const request = requestOf('a', [holdOf(denying, 10), holdOf(allowing, 10)])
  const answer = await ledger.reserve(request, startMs)
  expect(answer).toMatchObject({ kind: 'held', fallback: { uncountedQuotas: ['allow'] } })
  await memory.abandon('a', startMs)
  const reserved = await memory.balances([holdOf(denying, 0)], startMs)
  expect(reserved).toMatchObject([{ reserved: 10 }])
})

describe('what a process says of itself to the store', () => {
  const told = { atMs: 1, bornMs: 1, version: 1, table: undefined, claims: [2, 2, 2, 2, 2, 2] }
  const ledgerWith = (census: Processes['census']) =>
    createFailoverLedger<string>({
      main: createMemoryLedger(),
      local: { ledger: createMemoryLedger(), processes: { census }, atLeast: 1, dueMonotonicMs },
    })

  test('is said each time by few, and more seldom by each of many', async () => {
    for (const [processes, calls] of [
      [49, 12],
      [50, 6],
      [150, 3],
    ] as const) {
      let said = 0
      const ledger = ledgerWith(async () => {
        said += 1
        return { ...told, processes }
      })
      for (let times = 0; times < 12; times += 1) await ledger.expire(nowMs)
      expect(said).toBe(calls)
    }
  })

  test('is said once at a time, and leases end meanwhile', async () => {
    let said = 0
    let answer = (): void => undefined
    const ledger = ledgerWith(() => {
      said += 1
      return new Promise((resolve) => {
        answer = () => {
          resolve({ ...told, processes: 1 })
        }
      })
    })
    await ledger.reserve(requestOf('a', [holdOf(denying, 1)]), nowMs)
    const first = ledger.expire(nowMs)
    await expect.poll(() => said).toBe(1)
    expect(await ledger.expire(nowMs + 60_000)).toHaveLength(1)
    answer()
    await first
    expect(said).toBe(1)
    const next = ledger.expire(nowMs)
    await expect.poll(() => said).toBe(2)
    answer()
    await next
  })

  test('is that it leaves, when it does, also where the store is away', async () => {
    const leaving: unknown[] = []
    const ledger = ledgerWith(async (said) => {
      leaving.push([said.leaving, said.claims])
      if (said.leaving) throw new DependencyError('ledger', 'it is away')
      return { ...told, processes: 1 }
    })
    await ledger.expire(nowMs)
    await ledger.close()
    expect(leaving).toEqual([
      [false, [0, 0, 0, 0, 0, 0]],
      [true, [0, 0, 0, 0, 0, 0]],
    ])
  })
})

test('the size counts both, and the processes', async () => {
  store.isUp = false
  await reserve('a', holdOf(local, 1))
  store.isUp = true
  await reserve('b', holdOf(local, 1))
  expect(one.ledger.size()).toEqual({
    ...{ partitions: 2, reservations: 2 },
    ...{ processes: 4, toGiveBack: 0 },
  })
})

/** What a promise has come to before the event loop turns: no timer has fired and nothing was read. */
async function atOnce<Answer>(asked: Promise<Answer>): Promise<Answer | 'nothing yet'> {
  let answer: Answer | 'nothing yet' = 'nothing yet'
  asked.then(
    (given) => (answer = given),
    () => undefined,
  )
  for (let turn = 0; turn < 100; turn += 1) await Promise.resolve()
  return answer
}

describe('the answer follows the failure of the one call at once, and no other call of the store is made or waited for', () => {
  let calls: string[]
  let ledger: GuardedLedger<string>
  let fail = (): void => undefined

  beforeEach(async () => {
    let isUp = true
    const memory = createMemoryLedger<string>()
    const never = (name: string) => () => {
      calls.push(name)
      return new Promise<never>(() => undefined)
    }
    const main: Ledger<string> = {
      ...memory,
      reserve: () => {
        calls.push('reserve')
        return new Promise((_, reject) => {
          fail = () => {
            reject(new DependencyError('ledger', 'not in time'))
          }
        })
      },
      find: never('find'),
      abandon: never('abandon'),
      end: never('end'),
      expire: async () => (isUp ? [] : never('expire')()),
      balances: never('balances'),
    }
    const processes = { census: async () => (isUp ? halfOfAll : never('census')()) }
    ledger = createFailoverLedger({
      main,
      local: { ledger: memory, processes, atLeast: 2, dueMonotonicMs },
    })
    await ledger.expire(nowMs)
    isUp = false
    calls = []
  })

  test.each([
    ['deny', denying, { kind: 'unavailable', why: 'store' }],
    ['local', local, { kind: 'held', fallback: { localQuotas: ['local'] } }],
    [
      'local, whose share has no room',
      quotaThat('local', { name: 'small', limit: 1 }),
      { kind: 'unavailable', why: 'share' },
    ],
    ['allow', allowing, { kind: 'held', fallback: { uncountedQuotas: ['allow'] } }],
  ])('%s', async (_, quota, expected) => {
    const asked = ledger.reserve(requestOf('a', [holdOf(quota, 1)]), nowMs)
    expect(await atOnce(asked)).toBe('nothing yet')
    fail()
    expect(await atOnce(asked)).toMatchObject(expected)
    expect(calls).toEqual(['reserve'])
  })
})

describe('a memory that is full', () => {
  const kept = { maxPartitions: 1 }

  test('asks each quota that finds no room, and holds the others as ever', async () => {
    const main = createMemoryLedger<string>(kept)
    const ledger = createFullLedger(main)
    await ledger.reserve(requestOf('a', [holdOf(denying, 10)]), nowMs)
    expect(
      await ledger.reserve(requestOf('b', [holdOf(denying, 10), holdOf(allowing, 10)]), nowMs),
    ).toMatchObject({
      kind: 'held',
      balances: [{ reserved: 20 }],
      fallback: { why: 'full', localQuotas: [], uncountedQuotas: ['allow'] },
    })
    for (const quota of [local, quotaThat('deny', { name: 'other' })]) {
      const request = requestOf('c', [holdOf(denying, 10), holdOf(quota, 1)])
      expect(await ledger.reserve(request, nowMs)).toMatchObject({
        kind: 'unavailable',
        quota,
        why: 'full',
      })
    }
    const shadow = quotaThat('deny', { name: 'shadow', shadow: true })
    expect(await ledger.reserve(requestOf('d', [holdOf(shadow, 1)]), nowMs)).toMatchObject({
      kind: 'held',
      fallback: { uncountedQuotas: ['shadow'] },
    })
    expect(main.size()).toMatchObject({ partitions: 1 })
    expect(await ledger.balances([holdOf(denying, 0)], nowMs)).toMatchObject([{ reserved: 20 }])
  })

  test('of reservations lets pass what every quota allows, and no report will find it', async () => {
    const ledger = createFullLedger(createMemoryLedger<string>({ maxReservations: 1 }))
    await ledger.reserve(requestOf('a', [holdOf(denying, 1)]), nowMs)
    const refused = requestOf('b', [holdOf(allowing, 1), holdOf(denying, 1)])
    expect(await ledger.reserve(refused, nowMs)).toMatchObject({
      kind: 'unavailable',
      quota: denying,
    })
    const passing = requestOf('c', [holdOf(allowing, 1)])
    expect(await ledger.reserve(passing, nowMs)).toMatchObject({
      kind: 'held',
      reservation: { id: 'c', context: 'c', holds: [] },
      fallback: { why: 'full', uncountedQuotas: ['allow'] },
    })
    expect(await ledger.end('c', settled(1), nowMs)).toBeUndefined()
    expect(ledger.size()).toEqual({ partitions: 1, reservations: 1 })
  })

  test('while the store is away refuses what says local', async () => {
    const [process] = await fourProcesses({ local: kept })
    if (process === undefined) throw new Error('no process')
    one = process
    store.isUp = false
    expect(await reserve('a', holdOf(local, 1, 'x'))).toMatchObject({ kind: 'held' })
    expect(await reserve('b', holdOf(local, 1, 'y'))).toMatchObject({
      kind: 'unavailable',
      quota: { name: 'local' },
      why: 'full',
      fault: 'it is away',
    })
    expect(await reserve('c', holdOf(local, 1, 'x'))).toMatchObject({ kind: 'held' })
  })
})
