// The second half of `make bench ARGS=ledger`: each ledger beside envoyproxy/ratelimit, on one Redis, all asked
// over gRPC on a Unix socket by the same client. A decision and its end are two calls for either: the peer looks at its
// counters (no hits), and adds what was used afterwards; the ledger reserves, and settles.
import { fork } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
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
  /** Callers, in turn: slices are for the one that comes all the time. */
  readonly subjects: number
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
async function decide(side: Side, subjects = side.subjects): Promise<void> {
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

/** Measures all, in turn. */
async function compareWithPeer(redis: RedisServer): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'tg-bench-'))
  const redisSocket = new URL(redis.address.url).pathname
  const peer = await startPeer(directory, redisSocket, rules)
  const servers: ChildProcess[] = []
  const startLedger = async (kind: 'memory' | 'redis' | 'sliced', name: string): Promise<Side> => {
    const socket = join(directory, `${kind}.sock`)
    const file = fileURLToPath(new URL('./ledger-server.js', import.meta.url))
    const server = fork(file, [kind, redis.address.url, socket])
    servers.push(server)
    await once(server, 'message')
    return {
      name: `${name} behind grpc-js`,
      pid: server.pid ?? 0,
      client: clientOf(socket),
      subjects: kind === 'sliced' ? 1 : SUBJECTS,
      decision: (id, subject) => ({ descriptors: named(id, subject, 'reserve') }),
      end: (id, subject) => ({ descriptors: named(id, subject, 'end') }),
    }
  }
  const sides: Side[] = []
  try {
    const theirs: Side = {
      name: 'envoyproxy/ratelimit',
      pid: peer.pid,
      client: clientOf(peer.socket),
      subjects: SUBJECTS,
      decision: (_id, subject) => ({ domain: 'bench', descriptors: counted(subject, 0) }),
      end: (_id, subject) => ({ domain: 'bench', descriptors: counted(subject, USED_TOKENS) }),
    }
    sides.push(
      theirs,
      await startLedger('redis', 'Redis ledger'),
      await startLedger('memory', 'memory ledger'),
      await startLedger('sliced', 'Redis ledger with slices, asked by one caller,'),
    )
    const rounds = new Map<Side, Round[]>(sides.map((side) => [side, []]))
    for (let index = 0; index <= ROUNDS; index += 1) {
      for (const side of sides) {
        const measured = await round(redis, side)
        // The first warms up.
        if (index > 0) rounds.get(side)?.push(measured)
      }
    }
    print(
      `A decision and its end over gRPC, two calls, three quotas, ${String(SUBJECTS)} callers, ${String(IN_FLIGHT)} in flight, medians of ${String(ROUNDS)} rounds of ${String(DECISIONS)}:`,
    )
    for (const side of sides) {
      await describe(redis, side, rounds.get(side) ?? [])
      if (side === theirs) continue
      const ratio = (pick: (each: Round) => number): string => {
        const others = rounds.get(theirs) ?? []
        const ratios = (rounds.get(side) ?? []).map(
          (each, index) => pick(each) / pick(others[index] ?? each),
        )
        return `${median(ratios).toFixed(2)} x (${Math.min(...ratios).toFixed(2)} to ${Math.max(...ratios).toFixed(2)})`
      }
      print(
        `    to the peer: time of a decision ${ratio(({ perSecond }) => 1 / perSecond)}, p99 ${ratio(({ p99Micros }) => p99Micros)}, CPU of the process ${ratio(({ serverMicros }) => serverMicros)}, of Redis ${ratio(({ redisMicros: micros }) => micros)}`,
      )
    }

    await redis.client.flushall()
    const before = await info(redis.client, 'memory', 'used_memory')
    await measure(PARTITIONS, IN_FLIGHT, () => decide(theirs, PARTITIONS))
    const bytes = ((await info(redis.client, 'memory', 'used_memory')) - before) / PARTITIONS / 3
    print(`  envoyproxy/ratelimit: ${bytes.toFixed(0)} bytes of Redis per counter`)
  } finally {
    for (const { client } of sides) client.close()
    for (const server of servers) server.disconnect()
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
