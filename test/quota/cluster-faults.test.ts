import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { systemClock } from '../../src/clock.js'
import { DependencyError, UndecidedError } from '../../src/errors.js'
import { createBuckets } from '../../src/quota/redis/buckets.js'
import { createFailoverLedger } from '../../src/quota/failover/failover-ledger.js'
import type { GuardedLedger } from '../../src/quota/failover/guarded-ledger.js'
import { partitionKey } from '../../src/quota/keys.js'
import type { End, Found, Hold, Ledger } from '../../src/quota/ledger.js'
import { createMemoryLedger } from '../../src/quota/memory/memory-ledger.js'
import type { Quota } from '../../src/quota/quota.js'
import { createRedisLedger } from '../../src/quota/redis/redis-ledger.js'
import { loadRedisScripts } from '../../src/quota/redis/scripts.js'
import { openStore, slotOf } from '../../src/store/store.js'
import type { Script, Store, StoreAddress } from '../../src/store/store.js'
import { createSelfSigned } from '../identity/self-signed.js'
import { startCluster } from '../redis-cluster.js'
import { runs } from '../runs.js'
import { halfOfAll } from './claims-model.js'
import { calendar, quotaOf } from './quotas.js'
import { onEmptyCluster } from './on-redis.js'
import { bucketOf, holdsOnThreeNodes } from './three-nodes.js'

// What can only happen where a reservation has parts on several nodes, each decided by a script of its own.

const buckets = createBuckets(256)
const scripts = loadRedisScripts()

const on = onEmptyCluster()

/** A script that is to be sent for a bucket: is it lost? */
type Lose = (script: Script, bucket: number) => boolean

interface Differences {
  readonly timeoutMs?: number
  readonly lose?: Lose
  readonly onScript?: (keys: readonly string[]) => void
  readonly rememberEndedMs?: number
}

/** As one process would have it. */
function open({
  timeoutMs = 5000,
  rememberEndedMs = 60_000,
  lose,
  onScript,
}: Differences = {}): Ledger<string> {
  const inner = openStore(on.group.address, { clock: systemClock, random: Math.random })
  const store: Store = {
    ...inner,
    run: async (script, keys, ...rest) => {
      onScript?.(keys)
      const tag = /\{(\d+)\}/.exec(keys[0] ?? '')?.[1]
      const bucket = Array.from({ length: 256 }, (_, b) => b).find((b) => buckets.tagOf(b) === tag)
      if (lose?.(script, bucket ?? -1) === true) throw new DependencyError('ledger', 'lost')
      return inner.run(script, keys, ...rest)
    },
  }
  const options = { timeoutMs, rememberEndedMs, buckets, bucketsPerExpire: 256 }
  const ledger = createRedisLedger<string>({ store, clock: systemClock, ...options })
  on.ledgers.push(ledger)
  return ledger
}

/** Which asks each quota what it says when a node is away; no process is counted, so none has a share. */
function overFailure(main: Ledger<string>, timeoutMs = 5000): GuardedLedger<string> {
  const processes = { census: () => Promise.reject(new DependencyError('ledger', 'not asked')) }
  const dueMonotonicMs = (): number => systemClock.monotonicMs() + timeoutMs
  const local = { ledger: createMemoryLedger<string>(), processes, atLeast: 1, dueMonotonicMs }
  return createFailoverLedger({ main, local })
}

/** The same, with half of each limit as its share. */
async function overShares(main: Ledger<string>): Promise<GuardedLedger<string>> {
  const census = async () => halfOfAll
  const dueMonotonicMs = (): number => systemClock.monotonicMs() + 800
  const local = { ledger: createMemoryLedger<string>(), processes: { census } }
  const guarded = createFailoverLedger({ main, local: { ...local, atLeast: 2, dueMonotonicMs } })
  await guarded.expire(nowMs()).catch((error: unknown) => {
    if (!(error instanceof DependencyError)) throw error
  })
  return guarded
}

const [home, away, third] = holdsOnThreeNodes(2)
const masterOf = (hold: Hold) => on.group.masterOf(`{${buckets.tagOf(bucketOf(hold))}}`)

let made = 0
function requestOf(amount = 10, leaseMs = 60_000) {
  const id = `reservation-${String((made += 1))}`
  const holds = [{ ...home, amount }, { ...away, amount }, third]
  return { id, idempotencyKey: `stream ${id}`, holds, context: `context of ${id}`, leaseMs }
}

const nowMs = (): number => Date.now()
const settled = (tokens: number): End => {
  return { kind: 'settled', inputTokens: tokens, outputTokens: 0 }
}

async function hold(ledger: Ledger<string>, request = requestOf()): Promise<string> {
  const answer = await ledger.reserve(request, nowMs())
  if (answer.kind !== 'held') throw new Error(`${answer.quota.name} is short`)
  return answer.reservation.id
}

/** Spent, reserved and debt of each quota, as a process sees it that knows nothing. */
async function figures(): Promise<number[][]> {
  const balances = await open().balances([home, away, third], nowMs())
  return balances.map(({ spent, reserved, debt }) => [spent, reserved, debt])
}

const untouched = [
  [0, 0, 0],
  [0, 0, 0],
  [0, 0, 0],
]

function eventually<T>(ask: () => Promise<T> | T): Promise<T> {
  return vi.waitFor(ask, { timeout: 25_000, interval: 10 })
}

async function leftOvers(): Promise<readonly string[]> {
  return (await on.group.keys()).filter((key) => !key.includes(':p:'))
}

describe('a reservation with parts on three nodes', () => {
  test('takes one script for each, at its begin and at its end', async () => {
    const asked: string[] = []
    const ledger = open({
      onScript: (keys) => {
        expect(new Set(keys.map(slotOf)).size).toBe(1)
        asked.push(/\{(\d+)\}/.exec(keys[0] ?? '')?.[1] ?? '')
      },
    })
    const tags = [home, away, third].map((part) => buckets.tagOf(bucketOf(part))).sort()
    const id = await hold(ledger)
    expect(asked.splice(0).sort()).toEqual(tags)
    await ledger.end(id, settled(3), nowMs())
    expect(asked.sort()).toEqual(tags)
  })

  test('is found and ended by another process, once', async () => {
    const [one, other] = [open(), open()]
    const request = requestOf()
    const id = await hold(one, request)
    expect(id).toMatch(/^[\w-]{1,64}$/)
    const { heldMs, ...reservation } = (await other.find(id, nowMs())) as Found<string>
    expect(heldMs).toBeUndefined()
    expect(reservation).toMatchObject({ id, context: request.context, holds: request.holds })
    expect(await other.end(id, settled(12), nowMs())).toEqual({
      reservation,
      outcome: 'settled',
      late: false,
      charges: [
        { actual: 12, debt: 2 },
        { actual: 12, debt: 2 },
        { actual: 1, debt: 0 },
      ],
    })
    expect(await one.end(id, settled(12), nowMs())).toBeUndefined()
    expect(await figures()).toEqual([
      [10, 0, 2],
      [10, 0, 2],
      [0, 0, 0],
    ])
  })

  test('is ended by a process that was not asked for it before', async () => {
    const id = await hold(open())
    expect(await open().end(id, settled(4), nowMs())).toMatchObject({ outcome: 'settled' })
    expect(await figures()).toEqual([
      [4, 0, 0],
      [4, 0, 0],
      [0, 0, 0],
    ])
  })

  test('that one quota refuses leaves nothing anywhere, and says what is left', async () => {
    const ledger = open()
    for (const refusing of [home, away]) {
      const holds = [home, away, third].map((each) =>
        each === refusing ? { ...each, amount: 101 } : each,
      )
      const answer = await ledger.reserve({ ...requestOf(), holds }, nowMs())
      expect(answer).toMatchObject({ kind: 'short', quota: { name: refusing.quota.name } })
      expect(answer.balances.map(({ reserved }) => reserved)).toEqual([0, 0, 0])
      expect(await figures()).toEqual(untouched)
      expect(await leftOvers()).toEqual([])
    }
  })

  test('that is asked for twice holds once, in whatever process', async () => {
    const [one, other] = [open(), open()]
    const request = requestOf()
    const id = await hold(one, request)
    for (const ledger of [other, one]) {
      const again = await ledger.reserve({ ...request, id: 'another', context: 'x' }, nowMs())
      expect(again).toMatchObject({ repeated: true, reservation: { id, context: request.context } })
      expect(again.balances.map(({ reserved }) => reserved)).toEqual([10, 10, 1])
    }
    expect((await figures()).map(([, reserved]) => reserved)).toEqual([10, 10, 1])
  })

  test('that two answers carry stays whole when one of them is abandoned', async () => {
    const [one, other] = [open(), open()]
    const request = requestOf()
    const id = await hold(one, request)
    await other.reserve({ ...request, id: 'another' }, nowMs())
    expect(await one.abandon(id, nowMs())).toBeUndefined()
    expect((await figures()).map(([, reserved]) => reserved)).toEqual([10, 10, 1])
    expect(await other.end(id, settled(3), nowMs())).toMatchObject({ outcome: 'settled' })
  })

  test('that is abandoned is given back everywhere, once', async () => {
    const ledger = open()
    const id = await hold(ledger)
    expect(await ledger.abandon(id, nowMs())).toMatchObject({ outcome: 'released' })
    expect(await figures()).toEqual(untouched)
    expect(await ledger.abandon(id, nowMs())).toBeUndefined()
  })

  test('that is asked for by many at once under one key holds once, or fails for some', async () => {
    const processes = [open(), open(), open()]
    for (let round = 0; round < runs(10); round += 1) {
      await on.group.flush()
      // With room for all at once: else what the others hold for a moment may refuse the first.
      const roomy = { ...third, quota: { ...third.quota, limit: 3 } }
      const request = { ...requestOf(), holds: [home, away, roomy] }
      const answers = await Promise.allSettled(
        processes.map((ledger, index) =>
          ledger.reserve({ ...request, id: `${request.id}-${String(index)}` }, nowMs()),
        ),
      )
      const ids = answers.flatMap((answer) => {
        if (answer.status === 'rejected') {
          expect(answer.reason).toBeInstanceOf(DependencyError)
          return []
        }
        return answer.value.kind === 'held' ? [answer.value.reservation.id] : []
      })
      expect(new Set(ids).size).toBe(1)
      expect((await figures()).map(([, reserved]) => reserved)).toEqual([10, 10, 1])
    }
  })

  test('whose first call is short elsewhere is not taken for held by a second one', async () => {
    const request = { ...requestOf(), holds: [home, { ...away, amount: 101 }, third] }
    // The first call has asked, is short away from home, and ends before it gives anything back.
    const first = open({ lose: (script) => script.digest === scripts.end.digest })
    expect(await first.reserve(request, nowMs())).toMatchObject({ kind: 'short' })
    // It is short there itself, which is true of both.
    const second = await open().reserve({ ...request, id: 'another' }, nowMs())
    expect(second).toMatchObject({ kind: 'short', quota: { name: 'away' } })
    expect(second.balances).toHaveLength(3)
    expect((await figures()).map((each) => each[1])).toEqual([10, 0, 1])
  })

  test('whose first call has not come everywhere fails a second one, whatever its quotas say without a store', async () => {
    const holds = [home, away, third].map((each) => ({
      ...each,
      quota: { ...each.quota, onStoreFailure: 'allow' as const },
    }))
    const request = { ...requestOf(), holds }
    const first = open({
      lose: (script, bucket) => script.digest === scripts.end.digest || bucket === bucketOf(away),
    })
    await expect(first.reserve(request, nowMs())).rejects.toThrow('lost')
    const second = overFailure(open()).reserve({ ...request, id: 'another' }, nowMs())
    await expect(second).rejects.toThrow('an earlier call with the same key is not done')
    await expect(second).rejects.toBeInstanceOf(UndecidedError)
    expect((await figures()).map((each) => each[1])).toEqual([10, 0, 1])
  })

  test('that comes after its abandon fails, whatever its quotas say without a store', async () => {
    const quota = { ...home.quota, onStoreFailure: 'allow' as const }
    const request = { ...requestOf(), holds: [{ ...home, quota }] }
    const ledger = open()
    await ledger.abandon(buckets.nameId(request.id, bucketOf(home)), nowMs())
    const late = overFailure(ledger).reserve(request, nowMs())
    await expect(late).rejects.toThrow('the script answered abandoned')
  })

  test('whose first call itself leaves no room for a second one is not refused by it', async () => {
    const request = { ...requestOf(), holds: [home, { ...away, amount: 60 }, third] }
    const first = open({
      lose: (script, bucket) => script.digest === scripts.end.digest || bucket === bucketOf(third),
    })
    await expect(first.reserve(request, nowMs())).rejects.toThrow('lost')
    const second = open().reserve({ ...request, id: 'another' }, nowMs())
    await expect(second).rejects.toThrow('an earlier call with the same key is not done')
  })
})

describe('a process that ends between the parts', () => {
  test.each([
    ['home', home, true],
    ['elsewhere', away, false],
  ])('having held %s alone is healed by the lease', async (_, kept, isHome) => {
    const lost = open({
      lose: (script, bucket) => script.digest === scripts.end.digest || bucket !== bucketOf(kept),
    })
    await expect(lost.reserve(requestOf(10, 0), nowMs())).rejects.toThrow('lost')
    const reserved = (await figures()).map((each) => each[1])
    expect(reserved).toEqual([isHome ? 10 : 0, isHome ? 0 : 10, 0])
    const ended = await open().expire(nowMs())
    expect((await figures()).map((each) => each[1])).toEqual([0, 0, 0])
    // Only the home knows what the reservation was.
    expect(ended.map(({ outcome }) => outcome)).toEqual(isHome ? ['unsettled'] : [])
    await open().expire(nowMs())
    expect(await leftOvers()).toEqual([])
  })

  test('leaves nothing when its Redis can be reached again and it lives', async () => {
    let losing = true
    const ledger = open({
      lose: (script, bucket) =>
        losing && (script.digest === scripts.end.digest || bucket === bucketOf(away)),
    })
    await expect(ledger.reserve(requestOf(), nowMs())).rejects.toThrow('lost')
    expect((await figures()).map((each) => each[1])).toEqual([10, 0, 1])
    losing = false
    await ledger.expire(nowMs())
    expect(await figures()).toEqual(untouched)
  })
})

describe('an end that fails in a part', () => {
  test('is remembered with its report alone, for as long as that is tried again', async () => {
    let losing = true
    const ledger = open({
      rememberEndedMs: 0,
      lose: (script, bucket) =>
        losing && script.digest === scripts.end.digest && bucket === bucketOf(away),
    })
    const id = await hold(open())
    const tries = {}
    for (let times = 0; times < 3; times += 1) {
      await expect(ledger.end(id, settled(12), nowMs(), tries)).rejects.toThrow('lost')
      await ledger.expire(nowMs())
    }
    expect(tries).toMatchObject({ ended: { outcome: 'settled', reservation: { id } } })
    losing = false
    expect(await ledger.end(id, settled(12), nowMs())).toBeUndefined()
    expect(await ledger.end(id, settled(12), nowMs(), tries)).toMatchObject({ outcome: 'settled' })
  })

  test.each([
    ['of its own reservation', false, away],
    ['of its own reservation, at home', false, home],
    ['of one of another process', true, away],
  ])('%s ends the rest when it is said again, and is told once', async (_, foreign, failing) => {
    let losing = true
    const ledger = open({
      lose: (script, bucket) =>
        losing && script.digest === scripts.end.digest && bucket === bucketOf(failing),
    })
    const id = await hold(foreign ? open() : ledger)
    const tries = {}
    for (let times = 0; times < 2; times += 1) {
      await expect(ledger.end(id, settled(12), nowMs(), tries)).rejects.toThrow('lost')
    }
    losing = false
    expect(await ledger.end(id, settled(12), nowMs(), tries)).toMatchObject({
      outcome: 'settled',
      charges: [{ actual: 12, debt: 2 }, { actual: 12, debt: 2 }, { actual: 1 }],
    })
    expect(await ledger.end(id, settled(12), nowMs())).toBeUndefined()
    expect(await figures()).toEqual([
      [10, 0, 2],
      [10, 0, 2],
      [0, 0, 0],
    ])
  })
})

test('a node that hangs fails what has a part there, charges none of it, and nothing else', async () => {
  const ledger = open({ timeoutMs: 50 })
  await eventually(() => ledger.balances([home, away, third], nowMs()))
  const hung = masterOf(away)
  hung.pause()
  for (let times = 0; times < 4; times += 1) {
    await expect(ledger.reserve(requestOf(), nowMs())).rejects.toThrow(DependencyError)
    const alone = { ...requestOf(), holds: [{ ...home, amount: 1 }] }
    expect(await ledger.reserve(alone, nowMs())).toMatchObject({ kind: 'held' })
  }
  hung.resume()
  await eventually(async () => {
    await ledger.expire(nowMs())
    expect((await figures()).map((each) => each[1])).toEqual([4, 0, 0])
  })
})

describe('a node that hangs', () => {
  const allowing = [home, away, third].map((each) => ({
    ...each,
    quota: { ...each.quota, onStoreFailure: 'allow' as const },
  })) as [Hold, Hold, Hold]
  let ledger: Ledger<string>
  let guarded: GuardedLedger<string>
  let hung: ReturnType<typeof masterOf>

  async function hang(at: Hold): Promise<void> {
    ledger = open({ timeoutMs: 800 })
    guarded = overFailure(ledger, 800)
    await eventually(() => ledger.balances([home, away, third], nowMs()))
    hung = masterOf(at)
    hung.pause()
  }
  afterEach(() => {
    hung.resume()
  })

  test.each([
    ['at home', home, away],
    ['elsewhere', away, home],
  ])('%s leaves the quotas of the others counted', async (_, down, counted) => {
    await hang(down)
    const request = { ...requestOf(), holds: allowing }
    const first = await guarded.reserve(request, nowMs())
    expect(first).toMatchObject({
      kind: 'held',
      repeated: false,
      fallback: { why: 'store', localQuotas: [], uncountedQuotas: [down.quota.name] },
    })
    if (first.kind !== 'held') throw new Error('not held')
    const { id } = first.reservation
    const deny = { ...down, quota: { ...down.quota, onStoreFailure: 'deny' as const } }
    const refused = allowing.map((each) => (each.partitionKey === down.partitionKey ? deny : each))
    expect(await guarded.reserve({ ...requestOf(), holds: refused }, nowMs())).toMatchObject({
      kind: 'unavailable',
      quota: deny.quota,
    })
    hung.resume()
    await eventually(() => ledger.balances([home, away, third], nowMs()))
    // Its home may be another, now that all nodes answer.
    expect(await guarded.reserve({ ...request, id: 'another' }, nowMs())).toMatchObject({
      repeated: true,
      reservation: { id },
    })
    await eventually(async () => {
      await ledger.expire(nowMs())
      const reserved = [home, away].map((each) => (each === counted ? 10 : 0))
      expect((await figures()).map((each) => each[1])).toEqual([...reserved, 1])
    })
    expect(await guarded.end(id, settled(4), nowMs())).toMatchObject({ outcome: 'settled' })
    const spent = [home, away].map((each) => (each === counted ? 4 : 0))
    expect((await figures()).map(([spent]) => spent)).toEqual([...spent, 0])
  })

  test.each([
    ['at home', home, away],
    ['elsewhere', away, home],
  ])(
    '%s leaves its quotas to the shares, and those of the others in the store',
    async (_, down, up) => {
      await hang(down)
      const [one, other] = [await overShares(ledger), await overShares(open({ timeoutMs: 800 }))]
      const places = [home, away, third].map((each) => ({
        ...each,
        // What the others say without a store is not asked for.
        quota: { ...each.quota, onStoreFailure: each === down ? ('local' as const) : 'deny' },
      })) as Hold[]
      const at = places.findIndex(({ partitionKey }) => partitionKey === down.partitionKey)
      const held = await one.reserve({ ...requestOf(), holds: places }, nowMs())
      expect(held).toMatchObject({
        kind: 'held',
        fallback: { localQuotas: [down.quota.name], uncountedQuotas: [] },
      })
      if (held.kind !== 'held') throw new Error('not held')
      const { id, holds } = held.reservation
      expect(holds.map(({ quota }) => quota.limit)).toEqual(
        places.map(({ quota }, index) => (index === at ? quota.limit / 2 : quota.limit)),
      )
      const large = places.map((each, index) => (index === at ? { ...each, amount: 41 } : each))
      expect(await one.reserve({ ...requestOf(), holds: large }, nowMs())).toMatchObject({
        kind: 'unavailable',
        why: 'share',
      })

      // Another process ends what the store holds, though a node is away still; the share is left to the lease.
      const there = await one.reserve({ ...requestOf(), holds: places }, nowMs())
      if (there.kind !== 'held') throw new Error('not held')
      const ended = await other.end(there.reservation.id, settled(4), nowMs())
      expect(ended).toMatchObject({ outcome: 'settled', charges: [{}, {}] })

      hung.resume()
      await eventually(() => ledger.balances([home, away, third], nowMs()))
      expect(await one.end(id, settled(12), nowMs())).toMatchObject({
        outcome: 'settled',
        reservation: { id, holds },
        charges: [{ actual: 12, debt: 2 }, { actual: 12, debt: 2 }, { actual: 1 }],
      })
      await eventually(async () => {
        await ledger.expire(nowMs())
        const seen = await figures()
        expect(seen.map(([, reserved]) => reserved)).toEqual([0, 0, 0])
        expect(seen[at]?.[0]).toBe(0)
        expect(seen[up === home ? 0 : 1]?.[0]).toBe(14)
      })
    },
  )

  test.each([
    ['at home', home, away],
    ['elsewhere', away, home],
  ])('%s does not undo what another says is used up', async (_, down, full) => {
    await hang(down)
    const holds = allowing.map((each) =>
      each.partitionKey === full.partitionKey ? { ...each, amount: 101 } : each,
    )
    for (let times = 0; times < 4; times += 1) {
      const answer = await guarded.reserve({ ...requestOf(), holds }, nowMs())
      expect(answer).toMatchObject({ kind: 'short', quota: { name: full.quota.name } })
    }
    hung.resume()
    await eventually(async () => {
      await ledger.expire(nowMs())
      expect(await figures()).toEqual(untouched)
    })
  })
})

test('processes that race for quotas on different nodes never admit more, and what is left can be had', async () => {
  const processes = [open(), open(), open(), open()]
  const attempts = runs(1000)
  const limit = Math.floor(attempts / 10)
  const holds = [home, away].map((each) => ({
    ...each,
    amount: 1,
    quota: { ...each.quota, limit },
  }))
  let admitted = 0
  let asked = 0
  const ask = async (ledger: Ledger<string>): Promise<void> => {
    while (asked < attempts) {
      asked += 1
      const answer = await ledger.reserve({ ...requestOf(), holds }, nowMs())
      if (answer.kind === 'held') admitted += 1
    }
  }
  await Promise.all(processes.flatMap((ledger) => Array.from({ length: 16 }, () => ask(ledger))))
  expect(admitted).toBeLessThanOrEqual(limit)
  const raced = admitted
  for (let more = 0; more <= limit - raced; more += 1) {
    const answer = await open().reserve({ ...requestOf(), holds }, nowMs())
    if (answer.kind === 'held') admitted += 1
  }
  expect(admitted).toBe(limit)
  const [one, two] = await open().balances(holds, nowMs())
  expect([one?.reserved, two?.reserved]).toEqual([limit, limit])
})

describe('under load', () => {
  /** Reserves and ends until told to stop; answers how many ended, and what failed by its message. */
  async function load(tenants: readonly Quota[], until: (ended: () => number) => Promise<void>) {
    const processes = [open(), open()]
    const failures = new Map<string, number>()
    let ended = 0
    let going = true
    const ask = async (ledger: Ledger<string>): Promise<void> => {
      while (going) {
        const holds = tenants.map((quota) => ({ ...holdOfTenant(quota), amount: 7 }))
        try {
          const id = await hold(ledger, { ...requestOf(), holds })
          await eventually(() => ledger.end(id, settled(5), nowMs()))
          ended += 1
        } catch (error) {
          if (!(error instanceof DependencyError)) throw error
          failures.set(error.message, (failures.get(error.message) ?? 0) + 1)
          await new Promise(setImmediate)
        }
      }
    }
    const asked = processes.flatMap((ledger) => Array.from({ length: 8 }, () => ask(ledger)))
    await until(() => ended).finally(() => {
      going = false
    })
    await Promise.all(asked)
    for (const ledger of processes) await ledger.expire(nowMs())
    return { ended, failures }
  }

  const callers = {
    ...{ subject: 's', client: undefined, apiKey: undefined, groups: [], model: 'm' },
    ...{ pool: 'p', route: '/r', spiffe: undefined, claims: new Map<string, never>() },
  }
  const holdOfTenant = (quota: Quota): Hold => ({
    quota,
    partitionKey: partitionKey(quota, { ...callers, tenant: quota.name }),
    amount: 0,
  })
  const wide = ['acme', 'globex', 'initech', 'umbrella'].map((name) =>
    quotaOf({ name, limit: 1_000_000_000, by: ['tenant'], window: calendar('month') }),
  )

  test('nodes that are told to forget their scripts fail no request', async () => {
    const { ended, failures } = await load(wide, async () => {
      for (let times = 0; times < runs(50); times += 1) {
        for (const { client } of on.group.masters) await client.script('FLUSH')
      }
    })
    expect([...failures]).toEqual([])
    expect(ended).toBeGreaterThan(0)
    const balances = await open().balances(wide.map(holdOfTenant), nowMs())
    for (const { spent, reserved } of balances) expect([spent, reserved]).toEqual([5 * ended, 0])
  })

  test('a slot that is moved fails what has a part in it meanwhile, and charges everything once', async () => {
    const moved = holdOfTenant(wide[0] as Quota)
    const key = `{${buckets.tagOf(bucketOf(moved))}}`
    const slot = slotOf(key)
    const from = on.group.masterOf(key)
    const to = on.group.masters.find((master) => master !== from) ?? from
    let openMs = 0
    // Many of its keys, so that it is between the two for a while.
    const filler = open()
    const many = Array.from({ length: runs(500) }, () => ({ ...requestOf(), holds: [moved] }))
    for (const request of many) await hold(filler, request)
    const { ended, failures } = await load(wide, async (endedSoFar) => {
      await eventually(() => expect(endedSoFar()).toBeGreaterThan(50))
      const beganMs = systemClock.monotonicMs()
      await on.group.openMove(slot, from, to)
      while ((await on.group.moveKeys(slot, from, to, 10)) > 0);
      await on.group.closeMove(slot, from, to)
      openMs = systemClock.monotonicMs() - beganMs
      // It goes on at the new place.
      const ledger = open()
      await eventually(() => hold(ledger, { ...requestOf(), holds: [{ ...moved, amount: 0 }] }))
    })
    process.stdout.write(
      `a slot that was moved under load: open for ${openMs.toFixed(0)} ms, ${String(ended)} requests passed, ${JSON.stringify([...failures])}\n`,
    )
    await eventually(async () => {
      const balances = await open().balances(wide.map(holdOfTenant), nowMs())
      for (const { spent, reserved } of balances) expect([spent, reserved]).toEqual([5 * ended, 0])
    })
    expect(await to.client.exists(`tg2:${key}:p:${moved.partitionKey}`)).toBe(1)
  })
})

test('a report for a slot that is half moved fails, where its partition has not come yet, and is charged once', async () => {
  const ledger = open()
  const quota = quotaOf({ name: 'half moved', limit: 1000, window: calendar('month') })
  const only = { quota, partitionKey: `{half}${quota.name}`, amount: 10 }
  const id = await hold(ledger, { ...requestOf(), holds: [only] })
  const key = `{${buckets.tagOf(bucketOf(only))}}`
  const from = on.group.masterOf(key)
  const to = on.group.masters.find((master) => master !== from) ?? from
  await on.group.openMove(slotOf(key), from, to)
  // All but the partition: at its new node it would look like one that was never used.
  await on.group.moveKeys(slotOf(key), from, to, 100, (name) => !name.includes(':p:'))
  await expect(ledger.end(id, settled(15), nowMs())).rejects.toThrow('Redis answered TRYAGAIN')
  await expect(open().expire(nowMs() + 1e9)).rejects.toThrow(DependencyError)
  expect(await to.client.keys(`*:p:${only.partitionKey}`)).toEqual([])
  await on.group.moveKeys(slotOf(key), from, to, 100)
  await on.group.closeMove(slotOf(key), from, to)
  expect(await eventually(() => ledger.end(id, settled(15), nowMs()))).toMatchObject({
    charges: [{ actual: 15, debt: 5 }],
  })
  const [balance] = await open().balances([only], nowMs())
  expect(balance).toMatchObject({ spent: 10, reserved: 0, debt: 5 })
})

test('TLS with an authority of its own, and a user with the rights that docs/configuration.md names, whose password changes', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'ct-'))
  const { cert, key } = createSelfSigned()
  const file = (name: string, text: string): string => {
    writeFileSync(join(directory, name), text)
    return join(directory, name)
  }
  const caFile = file('ca.pem', cert)
  const secured = await startCluster({ tls: { caFile, keyFile: file('key.pem', key) } })
  const passwordFile = file('password', 'word')
  const page = readFileSync(new URL('../../docs/configuration.md', import.meta.url), 'utf8')
  const rights = /^ACL SETUSER tollgate on >PASSWORD (.*)$/m.exec(page)?.[1]?.split(' ') ?? []
  const setPassword = async (password: string): Promise<void> => {
    for (const { client } of secured.masters) {
      await client.call('ACL', 'SETUSER', 'tollgate', 'reset', 'on', `>${password}`, ...rights)
    }
  }
  await setPassword('word')
  const openTo = (address: StoreAddress): Ledger<string> => {
    const store = openStore(address, { clock: systemClock, random: Math.random })
    const options = { timeoutMs: 5000, buckets, bucketsPerExpire: 256 }
    const ledger = createRedisLedger<string>({ store, clock: systemClock, ...options })
    on.ledgers.push(ledger)
    return ledger
  }
  const address = { ...secured.address, user: 'tollgate', passwordFile }
  const ledger = openTo(address)
  for (const { client } of secured.masters) await client.script('FLUSH')
  const id = await hold(ledger)
  await hold(ledger, requestOf(1, 0))
  expect(await ledger.expire(nowMs())).toHaveLength(1)
  expect(await ledger.end(id, settled(900), nowMs())).toMatchObject({ outcome: 'settled' })
  await expect(hold(openTo({ ...address, caFile: undefined }))).rejects.toThrow(DependencyError)

  // A slot that is half moved is asked for at its new node, which takes a right of its own.
  const seen = `{${buckets.tagOf(bucketOf(home))}}`
  const from = secured.masterOf(seen)
  const to = secured.masters.find((master) => master !== from) ?? from
  await secured.openMove(slotOf(seen), from, to)
  while ((await secured.moveKeys(slotOf(seen), from, to, 100)) > 0);
  expect(await ledger.balances([home], nowMs())).toHaveLength(1)

  writeFileSync(passwordFile, 'another')
  await setPassword('another')
  for (const { client } of secured.masters) {
    await client.call('CLIENT', 'KILL', 'USER', 'tollgate')
  }
  await eventually(() => ledger.balances([away, third], nowMs()))
  await ledger.close()
  await secured.stop()
  rmSync(directory, { recursive: true })
})
