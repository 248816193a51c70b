import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import { systemClock } from '../../src/clock.js'
import { createBuckets } from '../../src/quota/redis/buckets.js'
import type { Hold, Ledger } from '../../src/quota/ledger.js'
import { createRedisLedger } from '../../src/quota/redis/redis-ledger.js'
import { openStore, ScriptError, slotOf } from '../../src/store/store.js'
import { startCluster } from '../redis-cluster.js'
import type { ClusterGroup } from '../redis-cluster.js'
import { calendar, holdOf, quotaOf } from './quotas.js'

// A slot of a cluster between two nodes, for as long as it takes to look: moments are the test's.

const buckets = createBuckets(256)
const startMs = Date.parse('2026-02-02T00:00:00Z')
const quota = quotaOf({ name: 'half moved', limit: 1000, window: calendar('month') })

let group: ClusterGroup
beforeAll(async () => {
  group = await startCluster()
})
afterAll(() => group.stop())
let ledger: Ledger<string>
beforeEach(() => {
  ledger = open()
})
afterEach(() => ledger.close())

function open(): Ledger<string> {
  const store = openStore(group.address, { clock: systemClock, random: Math.random })
  const options = { timeoutMs: 5000, buckets, bucketsPerExpire: 256, moments: 'given' } as const
  return createRedisLedger<string>({ store, clock: systemClock, ...options })
}

async function reserve(name: string, held: Hold, atMs = startMs): Promise<string> {
  const request = { id: name, idempotencyKey: name, context: name, leaseMs: 1000 }
  const answer = await ledger.reserve({ ...request, holds: [held] }, atMs)
  if (answer.kind !== 'held') throw new Error(`${name} is short`)
  return answer.reservation.id
}

/** A partition whose slot no other test moves. */
function placeOf(partition: string) {
  const hold = holdOf(quota, 10, partition)
  const tag = `{${buckets.tagOf(buckets.ofPartition(hold.partitionKey))}}`
  const from = group.masterOf(tag)
  const to = group.masters.find((master) => master !== from) ?? from
  return {
    hold,
    tag,
    from,
    /** Begins to move the slot, with these keys alone. */
    moveHalf: async (which: (key: string) => boolean): Promise<void> => {
      await group.openMove(slotOf(tag), from, to)
      expect(await group.moveKeys(slotOf(tag), from, to, 100, which)).toBeGreaterThan(0)
    },
    moveRest: async (): Promise<void> => {
      await group.moveKeys(slotOf(tag), from, to, 100)
      await group.closeMove(slotOf(tag), from, to)
    },
  }
}

/** Until the move has come round. */
function eventually<T>(ask: () => Promise<T>): Promise<T> {
  return vi.waitFor(ask, { timeout: 20_000, interval: 10 })
}

test.each([
  ['reservation', ':r:'],
  ['idempotency key', ':i:'],
])(
  'a lease whose %s has gone to another node keeps no other from running out, and each is told once',
  async (_, kind) => {
    const { hold, tag, from, moveHalf, moveRest } = placeOf(kind)
    const names = ['a', 'b', 'c', 'd']
    for (const [index, name] of names.entries()) await reserve(name, hold, startMs + index)
    const ofSecond = async (): Promise<string> => {
      const leases = await from.client.zrange(`tg2:${tag}:leases`, '0', '-1')
      const stored = leases[1] ?? ''
      if (kind === ':r:') return stored
      const keys = await from.client.keys(`tg2:${tag}:i:*`)
      const values = await Promise.all(keys.map((key) => from.client.get(key)))
      return keys[values.indexOf(stored)] ?? ''
    }
    const gone = await ofSecond()
    await moveHalf((key) => key === gone)
    const toldAt = async (ms: number) =>
      (await ledger.expire(ms)).map(({ reservation }) => reservation.context)
    expect(await toldAt(startMs + 1500)).toEqual(['a', 'c', 'd'])
    expect((await ledger.balances([hold], startMs + 1500))[0]).toMatchObject({
      spent: 30,
      reserved: 10,
    })
    await moveRest()
    const later = await eventually(() => toldAt(startMs + 61_500))
    expect(later).toEqual(['b'])
    expect((await ledger.balances([hold], startMs + 61_500))[0]).toMatchObject({
      spent: 40,
      reserved: 0,
    })
  },
)

test('reports whose idempotency key has gone to another node fail, and nothing in another slot of that node does', async () => {
  const { hold, from, moveHalf, moveRest } = placeOf('reports')
  const other = Array.from({ length: 256 }, (_, number) => placeOf(`other ${String(number)}`)).find(
    (place) => place.from === from,
  )
  // More than open the breaker.
  const names = ['a', 'b', 'c', 'd', 'e', 'f', 'g']
  const ids = await Promise.all(names.map((name) => reserve(name, hold)))
  await moveHalf((key) => key.includes(':i:'))
  const end = { kind: 'settled', inputTokens: 4, outputTokens: 0 } as const
  for (const id of ids) {
    await expect(ledger.end(id, end, startMs)).rejects.toThrow(ScriptError)
  }
  await reserve('elsewhere', other?.hold ?? hold)
  await moveRest()
  for (const id of ids) {
    expect(await eventually(() => ledger.end(id, end, startMs))).toMatchObject({
      outcome: 'settled',
    })
  }
  expect((await ledger.balances([hold], startMs))[0]).toMatchObject({ spent: 28, reserved: 0 })
})
