import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import { systemClock } from '../../src/clock.js'
import { DependencyError } from '../../src/errors.js'
import type { End, Ledger } from '../../src/quota/ledger.js'
import { createRedisLedger } from '../../src/quota/redis/redis-ledger.js'
import { openStore } from '../../src/store/store.js'
import type { StoreAddress } from '../../src/store/store.js'
import { startFaultProxy } from '../fault-proxy.js'
import type { FaultProxy } from '../fault-proxy.js'
import { addressOf, startRedis } from '../redis-server.js'
import type { RedisServer } from '../redis-server.js'
import { runs } from '../runs.js'
import { startLedgerProcess } from './ledger-process.js'
import type { LedgerProcess } from './ledger-process.js'
import { calendar, holdOf, quotaOf } from './quotas.js'

// Faults in numbers, each with what it must come to: nothing charged twice, nothing charged for nobody.

let redis: RedisServer
let proxy: FaultProxy
beforeAll(async () => {
  redis = await startRedis()
  proxy = await startFaultProxy(redis.port)
})
afterAll(async () => {
  await proxy.stop()
  await redis.stop()
})
beforeEach(() => redis.client.flushall())
// Also where a test failed while it stood still.
afterEach(() => redis.resume())

const ledgers: Ledger<string>[] = []
const processes: LedgerProcess[] = []
afterEach(async () => {
  for (const ledger of ledgers.splice(0)) await ledger.close()
  for (const each of processes.splice(0)) await each.kill()
})

function open(address: StoreAddress): Ledger<string> {
  const store = openStore(address, { clock: systemClock, random: Math.random })
  const ledger = createRedisLedger<string>({ store, clock: systemClock, timeoutMs: 20_000 })
  ledgers.push(ledger)
  return ledger
}

async function start(timeoutMs?: number): Promise<LedgerProcess> {
  const { url } = redis.address
  const started = await startLedgerProcess(timeoutMs === undefined ? { url } : { url, timeoutMs })
  processes.push(started)
  return started
}

const month = quotaOf({ name: 'month', limit: 1_000_000, window: calendar('month') })
const requests = quotaOf({ ...month, name: 'requests', unit: 'requests' })
const parallel = quotaOf({ name: 'parallel', unit: 'in_flight', window: { kind: 'open' } })

const RESERVED = 10
const USED = 7
const holds = [holdOf(month, RESERVED), holdOf(requests, 1), holdOf(parallel, 1)]
const settled: End = { kind: 'settled', inputTokens: USED, outputTokens: 0 }

function requestOf(id: string, idempotencyKey = id) {
  return { id, idempotencyKey, holds, context: '', leaseMs: 600_000 }
}

/** Spent and reserved of each quota; a debt would be a charge too many. */
async function figures(ledger: Ledger<string>): Promise<readonly (readonly number[])[]> {
  const balances = await ledger.balances(holds, Date.now())
  return balances.map(({ spent, reserved, debt }) => [spent, reserved, debt])
}

function eventually<T>(ask: () => Promise<T> | T): Promise<T> {
  return vi.waitFor(ask, { timeout: 20_000, interval: 10 })
}

function ids(kind: string, round: number): readonly string[] {
  return Array.from({ length: LOST_OF_A_KIND }, (_, index) =>
    [kind, String(round), String(index)].join(' '),
  )
}

/** 25 in each round: 1,000 in `make proof`. */
const LOST_OF_A_KIND = 5

test('of 25 replies that are lost after their script has run, none leads to a second charge, nor to one for nobody', async () => {
  const through = open(addressOf(`redis://127.0.0.1:${String(proxy.port)}`))
  const direct = open(redis.address)
  // A process answers of its own reservations from memory: this one made none.
  const onlooker = open(redis.address)
  // Redis knows the script from now on: else the answer that is lost would be that it does not.
  await direct.reserve(requestOf('first'), Date.now())
  await direct.end('first', { kind: 'released' }, Date.now())
  let lost = 0
  for (let round = 0; round < runs(1); round += 1) {
    // Two kinds of reserves and three of ends, by what comes afterwards.
    const [forgotten, repeated] = [ids('forgotten', round), ids('repeated', round)]
    const [again, elsewhere, over] = [
      ids('again', round),
      ids('elsewhere', round),
      ids('over', round),
    ]
    const ending = [...again, ...elsewhere, ...over]
    for (const id of ending) await direct.reserve(requestOf(id), Date.now())
    // Those of the last kind used more than they reserved: what is above is debt, once.
    const endOf = (id: string): End =>
      over.includes(id) ? { ...settled, inputTokens: RESERVED + 3 } : settled
    await eventually(() => through.balances(holds, Date.now()))
    // As a report does: who ends it has asked for it.
    for (const id of ending) await through.find(id, Date.now())

    proxy.dropAnswers(true)
    const asked = [
      ...[...forgotten, ...repeated].map((id) => through.reserve(requestOf(id), Date.now())),
      ...ending.map((id) => through.end(id, endOf(id), Date.now())),
    ].map((answer) => expect(answer).rejects.toThrow(DependencyError))
    // All have run: what was asked to be held is held, what was ended is gone.
    await eventually(async () => {
      for (const id of [...forgotten, ...repeated]) {
        expect(await onlooker.find(id, Date.now())).toBeDefined()
      }
      for (const id of ending) expect(await onlooker.find(id, Date.now())).toBeUndefined()
    })
    proxy.cut()
    await Promise.all(asked)
    lost += asked.length
    proxy.dropAnswers(false)

    // Envoy asks again for some, here or there, under the key of the stream and with a new id.
    const heldAgain: string[] = []
    for (const id of repeated) {
      const answer = await direct.reserve(requestOf(`${id} repeated`, id), Date.now())
      if (answer.kind !== 'held') throw new Error('short')
      heldAgain.push(answer.reservation.id)
    }
    for (const id of elsewhere) {
      expect(await direct.end(id, endOf(id), Date.now())).toBeUndefined()
    }
    await eventually(() => through.expire(Date.now()))
    for (const id of [...again, ...over]) {
      expect(await through.end(id, endOf(id), Date.now())).toBeUndefined()
    }
    for (const id of heldAgain) {
      expect(await direct.end(id, settled, Date.now())).toMatchObject({ outcome: 'settled' })
    }

    const each = LOST_OF_A_KIND * (round + 1)
    expect(await figures(direct)).toEqual([
      [3 * each * USED + each * RESERVED, 0, each * 3],
      [4 * each, 0, 0],
      [0, 0, 0],
    ])
    for (const id of forgotten) expect(await onlooker.find(id, Date.now())).toBeUndefined()
  }
  expect(lost).toBe(runs(25))
})

test('what four processes asked of a Redis that stood still is charged to nobody, two of them killed meanwhile', async () => {
  const direct = open(redis.address)
  for (let round = 0; round < Math.ceil(runs(1) / 2); round += 1) {
    const four = await Promise.all([start(250), start(250), start(250), start(250)])
    const sizes = { attempts: 64, inFlight: 64, holds: [holds], leaseMs: 600_000 }
    const underway = (each: LedgerProcess, name: string) => {
      let done: Promise<unknown> | undefined
      const sent = new Promise<void>((resolve) => {
        done = each.burst({ name: `ghost ${String(round)} ${name}`, ...sizes }, resolve)
        done.catch(() => undefined)
      })
      return { sent, done }
    }
    // Redis knows the script from now on: else it would only say that it does not.
    const nothing = { name: `warm ${String(round)}`, attempts: 1, inFlight: 1, holds: [[]] }
    await four[0].burst({ ...nothing, leaseMs: 600_000 })
    redis.pause()
    const [killed, living] = [four.slice(0, 2), four.slice(2)]
    await Promise.all(killed.map((each, index) => underway(each, `killed ${String(index)}`).sent))
    for (const each of killed) await each.kill()
    const waiting = living.map((each, index) => underway(each, `living ${String(index)}`))
    for (const { sent } of waiting) await sent
    // Their deadline is past, so that of the killed is too.
    for (const { done } of waiting) expect(await done).toEqual({ held: [], short: 0, failed: 64 })
    redis.resume()
    // An answer on the same socket: what came to it before has been run.
    await redis.client.ping()
    for (const each of living) await eventually(() => each.expire())
    expect(await figures(direct)).toEqual([
      [0, 0, 0],
      [0, 0, 0],
      [0, 0, 0],
    ])
    for (const each of living) await each.kill()
  }
})

test('what a killed process held is freed by its lease, and charged once, though its reports come to others afterwards', async () => {
  const [doomed, other] = [await start(), await start()]
  const few = quotaOf({ name: 'few', unit: 'in_flight', limit: 64, window: { kind: 'open' } })
  const held = [holdOf(month, RESERVED), holdOf(few, 1)]
  const size = { inFlight: 64, holds: [held] }
  const burst = { name: 'doomed', attempts: 64, leaseMs: 2000, ...size }
  expect((await doomed.burst(burst)).held).toHaveLength(64)
  await doomed.kill()
  const next = { name: 'next', attempts: 1, leaseMs: 600_000, ...size }
  expect(await other.burst(next)).toMatchObject({ held: [], short: 1 })

  let ended = 0
  await eventually(async () => {
    for (const { outcome } of await other.expire()) {
      expect(outcome).toBe('unsettled')
      ended += 1
    }
    expect(ended).toBe(64)
  })
  const spentAndHeld = async () =>
    (await other.balances(held)).map(({ spent, reserved, debt }) => [spent, reserved, debt])
  expect(await spentAndHeld()).toEqual([
    [64 * RESERVED, 0, 0],
    [0, 0, 0],
  ])
  expect((await other.burst(next)).held).toHaveLength(1)

  for (let index = 0; index < 64; index += 1) {
    const id = `doomed ${String(index)}`
    expect(await other.end(id, settled)).toMatchObject({ outcome: 'settled', late: true })
    expect(await other.end(id, settled)).toBeUndefined()
  }
  expect(await spentAndHeld()).toEqual([
    [64 * USED, RESERVED, 0],
    [0, 1, 0],
  ])
})
