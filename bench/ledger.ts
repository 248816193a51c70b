// `make bench ARGS=ledger`: what a decision of each ledger costs. Times are ratios to a PING on the same Redis in the
// same run, with as many in flight: what asking Redis anything costs here.
import { systemClock } from '../src/clock.js'
import type { Ledger } from '../src/quota/ledger.js'
import { CLUSTER_BUCKETS, createBuckets } from '../src/quota/redis/buckets.js'
import { createMemoryLedger } from '../src/quota/memory/memory-ledger.js'
import { createRedisLedger } from '../src/quota/redis/redis-ledger.js'
import { createSlicedLedger } from '../src/quota/slices/sliced-ledger.js'
import { openStore } from '../src/store/store.js'
import { startCluster } from '../test/redis-cluster.js'
import { startRedis } from '../test/redis-server.js'
import { day, end, minute, quotas, requestOf } from './bench-requests.js'
import type { context } from './bench-requests.js'
import { measure, median, print } from './measure.js'
import type { Times } from './measure.js'
import { commands, info } from './redis-info.js'

const ROUNDS = 7
const DECISIONS = 4000
const IN_FLIGHT = 64
const PARTITIONS = 20_000
const HOT_DECISIONS = 2000
/** So many may be decided from slices before Redis is told of the first, and more. */
const HOT_BURST = 500
const WARM = 300

const slicedQuotas = quotas.map((quota) => ({ ...quota, slices: true }))

let made = 0
function nextRequest(subjects: number, asked = quotas, tenants = 1) {
  made += 1
  return requestOf(`reservation ${String(made)}`, String(made % subjects), asked, tenants)
}

async function decide(ledger: Ledger<typeof context>, tenants = 1): Promise<void> {
  const request = nextRequest(1000, quotas, tenants)
  await ledger.exhausted(request, Date.now())
  const held = await ledger.reserve(request, Date.now())
  if (held.kind !== 'held') throw new Error('short')
  const { id } = held.reservation
  await ledger.find(id, Date.now())
  await ledger.end(id, end, Date.now())
}

/**
 * Decisions alone, all of one caller: where slices are for. In bursts, between which Redis is told of them; their ends
 * come when all are made, as streams last.
 */
async function measureHot(
  ledger: Ledger<typeof context>,
  count: number,
  burst: number,
  tenants = 1,
): Promise<Times> {
  const ids: string[] = []
  let seconds = 0
  const p99Micros: number[] = []
  const decideOne = async (): Promise<void> => {
    const request = nextRequest(1, slicedQuotas, tenants)
    await ledger.exhausted(request, Date.now())
    const held = await ledger.reserve(request, Date.now())
    if (held.kind !== 'held') throw new Error('short')
    ids.push(held.reservation.id)
  }
  for (let made = 0; made < count; made += burst) {
    // As it is where requests have come all along.
    await measure(WARM, IN_FLIGHT, decideOne)
    const times = await measure(burst, IN_FLIGHT, decideOne)
    seconds += burst / times.perSecond
    p99Micros.push(times.p99Micros)
    await ledger.expire(Date.now())
  }
  await measure(ids.length, IN_FLIGHT, () => ledger.end(ids.pop() ?? '', end, Date.now()))
  return { perSecond: count / seconds, p99Micros: median(p99Micros) }
}

const redis = await startRedis()
const store = openStore(redis.address, { clock: systemClock, random: Math.random })
const parts = { store, clock: systemClock, timeoutMs: 5000 }
const Redis = createRedisLedger<typeof context>(parts)
const ledgers = {
  memory: createMemoryLedger<typeof context>(),
  Redis,
  sliced: createSlicedLedger({ ...parts, ledger: Redis, random: Math.random }),
}

async function printScripts(kind: string, decisions: number): Promise<void> {
  const { sent, run } = await commands(redis.client)
  const micros = await info(redis.client, 'commandstats', 'cmdstat_evalsha:calls=\\d+,usec')
  print(
    `  ${kind}: ${(sent / decisions).toFixed(2)} scripts per decision with its end, ${(micros / decisions).toFixed(0)} us of Redis's time; ${(run / decisions).toFixed(1)} commands run, those inside the scripts included`,
  )
}

try {
  const rounds: { ping: Times; memory: Times; redis: Times }[] = []
  for (let round = 0; round <= ROUNDS; round += 1) {
    const ping = await measure(DECISIONS, IN_FLIGHT, () => redis.client.ping())
    const memory = await measure(DECISIONS, IN_FLIGHT, () => decide(ledgers.memory))
    const redisTimes = await measure(DECISIONS, IN_FLIGHT, () => decide(ledgers.Redis))
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
    const p99Micros = median(rounds.map((round) => round[kind].p99Micros))
    print(
      `  ${kind}: ${median(ratios).toFixed(2)} x a PING (${Math.min(...ratios).toFixed(2)} to ${Math.max(...ratios).toFixed(2)}), p99 ${median(tails).toFixed(2)} x; ${perSecond.toFixed(0)} a second, p99 ${p99Micros.toFixed(0)} us`,
    )
  }

  await redis.client.config('RESETSTAT')
  await measure(1000, IN_FLIGHT, () => decide(ledgers.Redis))
  await printScripts('Redis', 1000)

  for (const burst of [HOT_BURST, HOT_DECISIONS]) {
    print(
      `Decisions alone, all of one caller, ${String(burst)} at a stretch; their ends come later:`,
    )
    const hot: Record<keyof typeof ledgers, Times[]> = { memory: [], Redis: [], sliced: [] }
    for (let round = 0; round <= ROUNDS; round += 1) {
      for (const kind of ['memory', 'Redis', 'sliced'] as const) {
        const times = await measureHot(ledgers[kind], HOT_DECISIONS, burst)
        if (round > 0) hot[kind].push(times)
      }
    }
    for (const [kind, times] of Object.entries(hot)) {
      const perSecond = times.map((each) => each.perSecond)
      const spread = `${Math.min(...perSecond).toFixed(0)} to ${Math.max(...perSecond).toFixed(0)}`
      const p99 = median(times.map(({ p99Micros }) => p99Micros)).toFixed(0)
      print(`  ${kind}: ${median(perSecond).toFixed(0)} a second (${spread}), p99 ${p99} us`)
    }
  }
  for (const kind of ['Redis', 'sliced'] as const) {
    await redis.client.config('RESETSTAT')
    await measureHot(ledgers[kind], HOT_DECISIONS, HOT_BURST)
    await printScripts(kind, HOT_DECISIONS + (HOT_DECISIONS / HOT_BURST) * WARM)
  }

  for (const quota of [minute, day]) {
    await redis.client.flushall()
    const before = await info(redis.client, 'memory', 'used_memory')
    for (let index = 0; index < PARTITIONS; index += 1) {
      const request = nextRequest(PARTITIONS, [quota])
      await ledgers.Redis.reserve(request, Date.now())
      await ledgers.Redis.end(request.id, end, Date.now())
    }
    // What the ended reservations leave is forgotten after two minutes: taken away here.
    const left = await redis.client.keys('tg2:{0}:[ri]:*')
    for (let at = 0; at < left.length; at += 1000) {
      await redis.client.unlink(...left.slice(at, at + 1000))
    }
    const bytes = ((await info(redis.client, 'memory', 'used_memory')) - before) / PARTITIONS
    print(`  Redis: ${bytes.toFixed(0)} bytes per partition of a ${quota.window.kind} window`)
  }

  await measureCluster()
} finally {
  await ledgers.sliced.close()
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
  const sliced = createSlicedLedger({ ...options, ledger, random: Math.random })
  try {
    for (const tenants of [1, 2, 3]) {
      const ratios: number[] = []
      const perSecond: number[] = []
      const p99Micros: number[] = []
      for (let round = 0; round <= ROUNDS; round += 1) {
        scripts = 0
        const ping = await measure(DECISIONS, IN_FLIGHT, () => redis.client.ping())
        const times = await measure(DECISIONS, IN_FLIGHT, () => decide(ledger, tenants))
        if (round === 0) continue
        ratios.push(ping.perSecond / times.perSecond)
        perSecond.push(times.perSecond)
        p99Micros.push(times.p99Micros)
      }
      print(
        `  Cluster of three, ${String(tenants)} bucket(s): ${(scripts / DECISIONS).toFixed(2)} scripts per decision with its end, ${median(ratios).toFixed(2)} x a PING (${Math.min(...ratios).toFixed(2)} to ${Math.max(...ratios).toFixed(2)}); ${median(perSecond).toFixed(0)} a second, p99 ${median(p99Micros).toFixed(0)} us`,
      )
    }
    print(`Decisions alone on it, all of one caller, ${String(HOT_BURST)} at a stretch:`)
    for (const tenants of [1, 2, 3]) {
      const hot: Record<string, Times[]> = { Redis: [], sliced: [] }
      const asked: Record<string, number> = {}
      for (let round = 0; round <= ROUNDS; round += 1) {
        for (const [kind, each] of [['Redis', ledger] as const, ['sliced', sliced] as const]) {
          scripts = 0
          const times = await measureHot(each, HOT_DECISIONS, HOT_BURST, tenants)
          asked[kind] = scripts / (HOT_DECISIONS + (HOT_DECISIONS / HOT_BURST) * WARM)
          if (round > 0) hot[kind]?.push(times)
        }
      }
      for (const [kind, times] of Object.entries(hot)) {
        const perSecond = times.map((each) => each.perSecond)
        const spread = `${Math.min(...perSecond).toFixed(0)} to ${Math.max(...perSecond).toFixed(0)}`
        const p99 = median(times.map(({ p99Micros }) => p99Micros)).toFixed(0)
        print(
          `  ${String(tenants)} bucket(s), ${kind}: ${median(perSecond).toFixed(0)} a second (${spread}), p99 ${p99} us; ${(asked[kind] ?? 0).toFixed(2)} scripts per decision with its end`,
        )
      }
    }
  } finally {
    await sliced.close()
    await group.stop()
  }
}
