// The second half of `make bench ARGS=ledger`: the Redis ledger beside envoyproxy/ratelimit, on one Redis, both asked
// over gRPC on a Unix socket by the same client. A decision and its end are two calls for either: the peer looks at its
// counters (no hits), and adds what was used afterwards; the ledger reserves, and settles.
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Client, credentials } from '@grpc/grpc-js'
import { rateLimitService } from '../src/envoy/protos.js'
import type { RateLimitDescriptor, RateLimitRequest, RateLimitResponse } from '../src/envoy/wire.js'
import { startRedis } from '../test/redis-server.js'
import type { RedisServer } from '../test/redis-server.js'
import { day, minute, parallel, USED_TOKENS } from './bench-requests.js'
import { cpuMicrosOf, measure, median, print } from './measure.js'
import { hasPeer, noPeer, startPeer } from './peer.js'
import { commands, info } from './redis-info.js'

const ROUNDS = 7
const DECISIONS = 2000
const IN_FLIGHT = 64
const SUBJECTS = 1000
const PARTITIONS = 20_000

/** The peer's windows are fixed, and it does not count what is in flight: three counters all the same. */
const rules = `
domain: bench
descriptors:
${['minute', 'hour', 'day']
  .map(
    (unit) => `  - key: ${unit}
    rate_limit: { unit: ${unit}, requests_per_unit: 4000000000 }`,
  )
  .join('\n')}
`

/** One service to be asked: a decision, and its end. */
interface Side {
  readonly name: string
  readonly pid: number
  readonly client: Client
  decision(id: string, subject: string): RateLimitRequest
  end(id: string, subject: string): RateLimitRequest
}

const named = (id: string, subject: string, first: string) =>
  [minute, day, parallel].map(({ name }) => ({
    entries: [
      { key: first, value: id },
      { key: name, value: subject },
    ],
  }))

const counted = (subject: string, hits: number): readonly RateLimitDescriptor[] =>
  ['minute', 'hour', 'day'].map((unit) => ({
    entries: [{ key: unit, value: subject }],
    hitsAddend: { value: hits },
  }))

function clientOf(socket: string): Client {
  return new Client(`unix:${socket}`, credentials.createInsecure(), { 'grpc.enable_channelz': 0 })
}

function ask(client: Client, request: RateLimitRequest): Promise<RateLimitResponse> {
  const { path, requestSerialize, responseDeserialize } = rateLimitService.ShouldRateLimit
  return new Promise((resolve, reject) => {
    client.makeUnaryRequest(
      path,
      requestSerialize,
      responseDeserialize,
      request,
      (error, response) => {
        if (response === undefined) reject(error ?? new Error('no answer'))
        else resolve(response)
      },
    )
  })
}

/** Enums are read as their numbers. */
const OK = 1

let made = 0
async function decide(side: Side, subjects = SUBJECTS): Promise<void> {
  made += 1
  const [id, subject] = [`reservation ${String(made)}`, String(made % subjects)]
  const { overallCode } = await ask(side.client, side.decision(id, subject))
  if (Number(overallCode) !== OK) throw new Error(`${side.name} answered ${overallCode}`)
  await ask(side.client, side.end(id, subject))
}

interface Round {
  readonly perSecond: number
  readonly p99Micros: number
  readonly serverMicros: number
  readonly redisMicros: number
}

async function redisMicros(redis: RedisServer): Promise<number> {
  const seconds =
    (await info(redis.client, 'cpu', 'used_cpu_user')) +
    (await info(redis.client, 'cpu', 'used_cpu_sys'))
  return seconds * 1e6
}

async function round(redis: RedisServer, side: Side): Promise<Round> {
  const [serverBefore, redisBefore] = [cpuMicrosOf(side.pid), await redisMicros(redis)]
  const times = await measure(DECISIONS, IN_FLIGHT, () => decide(side))
  return {
    ...times,
    serverMicros: (cpuMicrosOf(side.pid) - serverBefore) / DECISIONS,
    redisMicros: ((await redisMicros(redis)) - redisBefore) / DECISIONS,
  }
}

async function describe(redis: RedisServer, side: Side, rounds: readonly Round[]): Promise<void> {
  await redis.client.config('RESETSTAT')
  await measure(1000, IN_FLIGHT, () => decide(side))
  const { sent, run } = await commands(redis.client)
  const of = (pick: (each: Round) => number): string => median(rounds.map(pick)).toFixed(0)
  print(
    `  ${side.name}: ${of(({ perSecond }) => perSecond)} a second, p99 ${of(({ p99Micros }) => p99Micros / 1000)} ms; CPU of its process ${of(({ serverMicros }) => serverMicros)} us, of Redis ${of(({ redisMicros: micros }) => micros)} us; ${(sent / 1000).toFixed(2)} commands to Redis, ${(run / 1000).toFixed(2)} run there`,
  )
}

/** Measures both, in turn. */
async function compareWithPeer(redis: RedisServer): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'tg-bench-'))
  const socket = join(directory, 'ledger.sock')
  const redisSocket = new URL(redis.address.url).pathname
  const peer = await startPeer(directory, redisSocket, rules)
  const server = fork(fileURLToPath(new URL('./ledger-server.js', import.meta.url)), [
    redis.address.url,
    socket,
  ])
  const sides: { readonly ledger: Side; readonly peer: Side } = {
    ledger: {
      name: 'Redis ledger behind grpc-js',
      pid: server.pid ?? 0,
      client: clientOf(socket),
      decision: (id, subject) => ({ descriptors: named(id, subject, 'reserve') }),
      end: (id, subject) => ({ descriptors: named(id, subject, 'end') }),
    },
    peer: {
      name: 'envoyproxy/ratelimit',
      pid: peer.pid,
      client: clientOf(peer.socket),
      decision: (_id, subject) => ({ domain: 'bench', descriptors: counted(subject, 0) }),
      end: (_id, subject) => ({ domain: 'bench', descriptors: counted(subject, USED_TOKENS) }),
    },
  }
  try {
    await once(server, 'message')
    const rounds: { ledger: Round; peer: Round }[] = []
    for (let index = 0; index <= ROUNDS; index += 1) {
      const ledger = await round(redis, sides.ledger)
      const other = await round(redis, sides.peer)
      // The first warms up.
      if (index > 0) rounds.push({ ledger, peer: other })
    }
    print(
      `A decision and its end over gRPC, two calls, three quotas, ${String(IN_FLIGHT)} in flight, medians of ${String(ROUNDS)} rounds of ${String(DECISIONS)}:`,
    )
    await describe(
      redis,
      sides.ledger,
      rounds.map(({ ledger }) => ledger),
    )
    await describe(
      redis,
      sides.peer,
      rounds.map(({ peer: other }) => other),
    )
    const ratio = (pick: (each: Round) => number): string => {
      const ratios = rounds.map(({ ledger, peer: other }) => pick(ledger) / pick(other))
      return `${median(ratios).toFixed(2)} x (${Math.min(...ratios).toFixed(2)} to ${Math.max(...ratios).toFixed(2)})`
    }
    print(
      `  the ledger to the peer: time of a decision ${ratio(({ perSecond }) => 1 / perSecond)}, p99 ${ratio(({ p99Micros }) => p99Micros)}, CPU of the process ${ratio(({ serverMicros }) => serverMicros)}, of Redis ${ratio(({ redisMicros: micros }) => micros)}`,
    )

    await redis.client.flushall()
    const before = await info(redis.client, 'memory', 'used_memory')
    await measure(PARTITIONS, IN_FLIGHT, () => decide(sides.peer, PARTITIONS))
    const bytes = ((await info(redis.client, 'memory', 'used_memory')) - before) / PARTITIONS / 3
    print(`  envoyproxy/ratelimit: ${bytes.toFixed(0)} bytes of Redis per counter`)
  } finally {
    for (const { client } of Object.values(sides)) client.close()
    server.disconnect()
    await peer.stop()
    rmSync(directory, { recursive: true, force: true })
  }
}

if (hasPeer()) {
  const redis = await startRedis()
  try {
    await compareWithPeer(redis)
  } finally {
    await redis.stop()
  }
} else {
  print(`Beside envoyproxy/ratelimit: ${noPeer}`)
}
