// `make bench ARGS=ledger`: what a decision of each ledger costs. Times are ratios to a PING on the same Redis in the
// same run, with as many in flight: what asking Redis anything costs here.
import { systemClock } from '../src/clock.js'
import type { Ledger } from '../src/quota/ledger.js'
import { CLUSTER_BUCKETS, createBuckets } from '../src/quota/buckets.js'
import { createMemoryLedger } from '../src/quota/memory-ledger.js'
import type { Quota } from '../src/quota/quota.js'
import { createRedisLedger } from '../src/quota/redis-ledger.js'
import { openStore } from '../src/store/store.js'
import { startCluster } from '../test/redis-cluster.js'
import { startRedis } from '../test/redis-server.js'

const ROUNDS = 7
const DECISIONS = 4000
const IN_FLIGHT = 64
const PARTITIONS = 20_000

const base = { by: ['tenant', 'subject'], groups: [], models: [], shadow: false } as const
const minute: Quota = {
  ...base,
  name: 'minute',
  unit: 'tokens',
  limit: 1e12,
  window: { kind: 'sliding', lengthMs: 60_000 },
}
const day: Quota = {
  ...base,
  name: 'day',
  unit: 'tokens',
  limit: 1e12,
  window: { kind: 'calendar', period: 'day', timeZone: 'Europe/Berlin' },
}
const parallel: Quota = {
  ...base,
  name: 'parallel',
  unit: 'in_flight',
  limit: 1e6,
  window: { kind: 'open' },
}

/** As large as what admission knows of a request. */
const context = { tenant: 'acme', subject: 'user', model: 'llama', rest: 'x'.repeat(300) }

let made = 0
function requestOf(subjects: number, quotas = [minute, day, parallel], tenants = 1) {
  const id = `reservation ${String((made += 1))}`
  const subject = String(made % subjects)
  const holds = quotas.map((quota, index) => ({
    quota,
    partitionKey: `{acme ${String(index % tenants)}}${quota.name}${subject}`,
    amount: 100,
  }))
  return { id, idempotencyKey: id, holds, context, leaseMs: 1_860_000 }
}

const end = { kind: 'settled', inputTokens: 20, outputTokens: 60 } as const

interface Times {
  readonly perSecond: number
  readonly p99Micros: number
}

/** Runs `once` so often with so many in flight. */
async function measure(count: number, once: () => Promise<unknown>): Promise<Times> {
  const micros: number[] = []
  let left = count
  const startedMs = systemClock.monotonicMs()
  const worker = async (): Promise<void> => {
    while (left > 0) {
      left -= 1
      const beganMs = systemClock.monotonicMs()
      await once()
      micros.push((systemClock.monotonicMs() - beganMs) * 1000)
    }
  }
  await Promise.all(Array.from({ length: IN_FLIGHT }, worker))
  const seconds = (systemClock.monotonicMs() - startedMs) / 1000
  micros.sort((a, b) => a - b)
  return { perSecond: count / seconds, p99Micros: micros[Math.floor(count * 0.99)] ?? NaN }
}

async function decide(ledger: Ledger<typeof context>, tenants = 1): Promise<void> {
  const request = requestOf(1000, [minute, day, parallel], tenants)
  await ledger.exhausted(request, Date.now())
  const held = await ledger.reserve(request, Date.now())
  if (held.kind !== 'held') throw new Error('short')
  const { id } = held.reservation
  await ledger.find(id, Date.now())
  await ledger.end(id, end, Date.now())
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? NaN
}

function print(line: string): void {
  process.stdout.write(`${line}\n`)
}

const redis = await startRedis()
const store = openStore(redis.address, { clock: systemClock, random: Math.random })
const ledgers = {
  memory: createMemoryLedger<typeof context>(),
  Redis: createRedisLedger<typeof context>({ store, clock: systemClock, timeoutMs: 5000 }),
}

async function info(section: string, name: string): Promise<number> {
  const text = await redis.client.info(section)
  return Number(new RegExp(`^${name}[:=]([\\d.]+)`, 'm').exec(text)?.[1] ?? NaN)
}

try {
  const rounds: { ping: Times; memory: Times; redis: Times }[] = []
  for (let round = 0; round <= ROUNDS; round += 1) {
    const ping = await measure(DECISIONS, () => redis.client.ping())
    const memory = await measure(DECISIONS, () => decide(ledgers.memory))
    const redisTimes = await measure(DECISIONS, () => decide(ledgers.Redis))
    // The first warms up.
    if (round > 0) rounds.push({ ping, memory, redis: redisTimes })
  }
  print(
    `A decision and its end, three quotas, ${String(IN_FLIGHT)} in flight, medians of ${String(ROUNDS)} rounds of ${String(DECISIONS)}:`,
  )
  const pingMicros = median(rounds.map(({ ping }) => 1e6 / ping.perSecond))
  print(
    `  PING: ${pingMicros.toFixed(1)} us each, p99 ${median(rounds.map(({ ping }) => ping.p99Micros)).toFixed(0)} us`,
  )
  for (const kind of ['memory', 'redis'] as const) {
    const ratios = rounds.map((round) => round.ping.perSecond / round[kind].perSecond)
    const tails = rounds.map((round) => round[kind].p99Micros / round.ping.p99Micros)
    const perSecond = median(rounds.map((round) => round[kind].perSecond))
    print(
      `  ${kind}: ${median(ratios).toFixed(2)} x a PING (${Math.min(...ratios).toFixed(2)} to ${Math.max(...ratios).toFixed(2)}), p99 ${median(tails).toFixed(2)} x; ${perSecond.toFixed(0)} a second`,
    )
  }

  await redis.client.config('RESETSTAT')
  await measure(1000, () => decide(ledgers.Redis))
  const calls = await info('commandstats', 'cmdstat_evalsha:calls')
  const micros = await info('commandstats', 'cmdstat_evalsha:calls=\\d+,usec')
  print(
    `  Redis: ${(calls / 1000).toFixed(2)} scripts per decision with its end, ${(micros / calls).toFixed(0)} us of its time each`,
  )

  for (const quota of [minute, day]) {
    await redis.client.flushall()
    const before = await info('memory', 'used_memory')
    for (let index = 0; index < PARTITIONS; index += 1) {
      const request = requestOf(PARTITIONS, [quota])
      await ledgers.Redis.reserve(request, Date.now())
      await ledgers.Redis.end(request.id, end, Date.now())
    }
    // What the ended reservations leave is forgotten after two minutes: taken away here.
    const left = await redis.client.keys('tg2:{0}:[ri]:*')
    for (let at = 0; at < left.length; at += 1000) {
      await redis.client.unlink(...left.slice(at, at + 1000))
    }
    const bytes = ((await info('memory', 'used_memory')) - before) / PARTITIONS
    print(`  Redis: ${bytes.toFixed(0)} bytes per partition of a ${quota.window.kind} window`)
  }

  await measureCluster()
} finally {
  await ledgers.Redis.close()
  await redis.stop()
}

/** On three masters: what it costs that quotas of a request are in several buckets. */
async function measureCluster(): Promise<void> {
  const group = await startCluster()
  const inner = openStore(group.address, { clock: systemClock, random: Math.random })
  let scripts = 0
  const counted = {
    ...inner,
    run: (...call: Parameters<typeof inner.run>) => {
      scripts += 1
      return inner.run(...call)
    },
  }
  const buckets = createBuckets(CLUSTER_BUCKETS)
  const options = { store: counted, clock: systemClock, timeoutMs: 5000, buckets }
  const ledger = createRedisLedger<typeof context>(options)
  try {
    for (const tenants of [1, 2, 3]) {
      const ratios: number[] = []
      const perSecond: number[] = []
      for (let round = 0; round <= ROUNDS; round += 1) {
        scripts = 0
        const ping = await measure(DECISIONS, () => redis.client.ping())
        const times = await measure(DECISIONS, () => decide(ledger, tenants))
        if (round === 0) continue
        ratios.push(ping.perSecond / times.perSecond)
        perSecond.push(times.perSecond)
      }
      print(
        `  Cluster of three, ${String(tenants)} bucket(s): ${(scripts / DECISIONS).toFixed(2)} scripts per decision with its end, ${median(ratios).toFixed(2)} x a PING (${Math.min(...ratios).toFixed(2)} to ${Math.max(...ratios).toFixed(2)}); ${median(perSecond).toFixed(0)} a second`,
      )
    }
  } finally {
    await ledger.close()
    await group.stop()
  }
}
