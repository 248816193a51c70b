import { spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import { Client, credentials } from '@grpc/grpc-js'
import { systemClock } from '../../src/clock.js'
import { loadRateLimits } from '../../src/config/rate-limits/load.js'
import { rateLimitService } from '../../src/envoy/protos.js'
import { createRateLimitService } from '../../src/envoy/rate-limit-service.js'
import type { RateLimitRequest, RateLimitResponse } from '../../src/envoy/wire.js'
import { openCounters } from '../../src/ratelimit/open-counters.js'
import type { CounterSettings } from '../../src/ratelimit/open-counters.js'
import { call } from '../as-envoy.js'
import type { StoreAddress } from '../../src/store/store.js'
import { freePort } from '../free-port.js'
import { startCluster } from '../redis-cluster.js'
import { startSentinels } from '../redis-sentinel.js'
import { startRedis } from '../redis-server.js'

// The same calls to the real envoyproxy/ratelimit and to the service here, on one Redis, a server, a master that
// Sentinel names, and a Cluster: not a test of `make test`,
// since the peer has to be built (Go):
//   GOBIN=$PWD/.deps/peer go install github.com/envoyproxy/ratelimit/src/service_cmd@VERSION
//   npx tsx test/ratelimit/against-peer.ts .deps/peer/service_cmd [calls] [seed]
// Left out is what the version that `make peer` builds lacks, or does otherwise than later ones (quota mode, of which its
// status is OK though it is over, so that only the dynamic metadata is compared; stars inside a value; metadata), and
// limits of several units on one descriptor: there they share a counter on days on which their windows begin together.

const [binary = '', callCount = '2000', seedText = '1'] = process.argv.slice(2)

const files: Readonly<Record<string, string>> = {
  'd.yaml': `
domain: d
descriptors:
  - { key: one, rate_limit: { unit: day, requests_per_unit: 5 } }
  - { key: one, value: own, rate_limit: { unit: Day, requests_per_unit: 9, name: own } }
  - { key: one, value: free }
  - { key: zero, rate_limit: { unit: day, requests_per_unit: 0 } }
  - { key: shadow, rate_limit: { unit: day, requests_per_unit: 3 }, shadow_mode: true }
  - { key: all, rate_limit: { unlimited: true, replaces: [{ name: base }] } }
  - { key: base, rate_limit: { unit: day, requests_per_unit: 4, name: base } }
  - { key: instead, rate_limit: { unit: day, requests_per_unit: 6, replaces: [{ name: base }, { name: own }] } }
  - { key: path, value: a*, rate_limit: { unit: day, requests_per_unit: 7 } }
  - { key: path, value: ab*, rate_limit: { unit: day, requests_per_unit: 70 } }
  - { key: file, value: f*, share_threshold: true, rate_limit: { unit: day, requests_per_unit: 30 } }
  - key: up
    rate_limit: { unit: day, requests_per_unit: 8 }
    descriptors:
      - { key: down, rate_limit: { unit: day, requests_per_unit: 6 } }
      - { key: down, value: x, rate_limit: { unit: day, requests_per_unit: 12 } }
  - key: up
    value: s*
    share_threshold: true
    descriptors:
      - { key: down, rate_limit: { unit: day, requests_per_unit: 40 } }
  - { key: a, value: b_c, rate_limit: { unit: day, requests_per_unit: 5 } }
  # What is a warning here.
  - { key: last, rate_limit: { unit: day, requests_per_unit: 50, requests_per_unit: 4 } }
  - { key: added, rate_limit: { unit: hour, requests_per_unit: 5 }, rate_limit: { unit: day, name: added } }
  - { key: beside, unlimited: true, rate_limit: { unit: day, requests_per_unit: 3 } }
  - { key: tagged, value: !own t, rate_limit: !!set { unit: day, requests_per_unit: 3 } }
  - { key: fortnight, rate_limit: { unlimited: true, unit: fortnight } }
  - { key: large, value: 9007199254740993, rate_limit: { unit: day, requests_per_unit: 2 } }
  - { key: before, rate_limit: { unit: day, requests_per_unit: 5, <<: { requests_per_unit: 9 } } }
  - { key: merged, <<: { rate_limit: { unit: day, requests_per_unit: 6 } }, rate_limit: { unit: day, name: merged } }
  - { key: most, rate_limit: { unit: day, requests_per_unit: 4294967295 } }
---
descriptors: [ no YAML
`,
  'q.yaml': `
domain: q
descriptors:
  - { key: one, quota_mode: true, rate_limit: { unit: day, requests_per_unit: 5 } }
  - { key: base, quota_mode: true, rate_limit: { unit: day, requests_per_unit: 4, name: base } }
  - { key: instead, rate_limit: { unit: day, requests_per_unit: 6, replaces: [{ name: base }] } }
  - { key: shadow, quota_mode: true, shadow_mode: true, rate_limit: { unit: day, requests_per_unit: 3 } }
  - { key: all, quota_mode: true, rate_limit: { unlimited: true } }
  - { key: zero, rate_limit: { unit: day, requests_per_unit: 0 } }
`,
}

/** A small generator of its own, so that a seed means the same everywhere. */
function numbersFrom(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor((state / 2 ** 32) * below)
  }
}

const entryPool = [
  ...['one=1', 'one=2', 'one=own', 'one=free', 'one=', 'zero=1', 'shadow=1', 'all=1', 'base=1'],
  ...['base=2', 'instead=1', 'path=a1', 'path=abc', 'path=b', 'file=f1', 'file=f2', 'up=1'],
  ...['up=1,down=1', 'up=1,down=x', 'up=s1,down=1', 'up=s2,down=1', 'up=1,down=1,more=1', 'One=1'],
  ...['a=b_c', 'nothing=1', 'last=1', 'added=1', 'beside=1', 'tagged=t', 'tagged=u', 'fortnight=1'],
  ...['large=9007199254740993', 'large=9007199254740992', 'before=1', 'merged=1', 'most=1'],
]

function randomRequest(below: (bound: number) => number, domain: string): RateLimitRequest {
  const pick = <Item>(items: readonly Item[]): Item => items[below(items.length)] as Item
  return {
    domain: below(20) === 0 ? 'elsewhere' : domain,
    hitsAddend: pick([0, 0, 0, 1, 2, 3]),
    descriptors: Array.from({ length: 1 + below(4) }, () => ({
      entries: pick(entryPool)
        .split(',')
        .map((entry) => {
          const [key = '', value = ''] = entry.split('=')
          return { key, value }
        }),
      ...(below(8) === 0 ? { limit: { requestsPerUnit: below(9), unit: 4 } } : {}),
      ...(below(4) === 0 ? { hitsAddend: { value: pick([0, 1, 2, 5]) } } : {}),
    })),
  }
}

/** A Redis that both count in, and how each of them is told where it is. */
interface Ground {
  readonly name: string
  readonly environment: Readonly<Record<string, string>>
  readonly address: StoreAddress
  flush(): Promise<unknown>
  keys(): Promise<readonly string[]>
  stop(): Promise<void>
}

const hostsOf = (nodes: readonly string[]): string =>
  nodes.map((node) => new URL(node).host).join(',')

async function onServer(): Promise<Ground> {
  const server = await startRedis()
  return {
    ...{ name: 'a server', address: server.address },
    environment: { REDIS_URL: `127.0.0.1:${String(server.port)}` },
    flush: () => server.client.flushall(),
    keys: () => server.client.keys('*'),
    stop: () => server.stop(),
  }
}

async function onSentinel(): Promise<Ground> {
  const group = await startSentinels({ sentinels: 1 })
  const { client } = group.servers[0]
  const { master, nodes } = group.address.sentinel
  return {
    ...{ name: 'a master that Sentinel names', address: group.address },
    environment: { REDIS_TYPE: 'SENTINEL', REDIS_URL: `${master},${hostsOf(nodes)}` },
    flush: () => client.flushall(),
    keys: () => client.keys('*'),
    stop: () => group.stop(),
  }
}

async function onCluster(): Promise<Ground> {
  const group = await startCluster()
  const { nodes } = group.address.cluster
  return {
    ...{ name: 'a Cluster', address: group.address },
    environment: { REDIS_TYPE: 'CLUSTER', REDIS_URL: hostsOf(nodes) },
    flush: () => group.flush(),
    keys: () => group.keys(),
    stop: () => group.stop(),
  }
}

const directory = mkdtempSync(join(tmpdir(), 'peer-'))
const configDir = join(directory, 'ratelimit', 'config')
mkdirSync(configDir, { recursive: true })
for (const [name, text] of Object.entries(files)) writeFileSync(join(configDir, name), text)
const { config } = loadRateLimits({ configDir, mergeDomains: false })

async function startPeer(ground: Ground, environment: Readonly<Record<string, string>>) {
  const port = await freePort()
  const child = spawn(binary, {
    stdio: 'ignore',
    env: {
      ...{ USE_STATSD: 'false', LOG_LEVEL: 'error', BACKEND_TYPE: 'redis' },
      ...{ REDIS_SOCKET_TYPE: 'tcp', ...ground.environment },
      ...{
        RUNTIME_ROOT: directory,
        RUNTIME_SUBDIRECTORY: 'ratelimit',
        RUNTIME_WATCH_ROOT: 'false',
      },
      ...{ HOST: '127.0.0.1', GRPC_HOST: '127.0.0.1', DEBUG_HOST: '127.0.0.1' },
      PORT: String(await freePort()),
      DEBUG_PORT: String(await freePort()),
      GRPC_PORT: String(port),
      LIMIT_RESPONSE_HEADERS_ENABLED: 'true',
      RESPONSE_DYNAMIC_METADATA: 'true',
      ...environment,
    },
  })
  const client = new Client(`127.0.0.1:${String(port)}`, credentials.createInsecure())
  const ask = (request: RateLimitRequest) => call(client, rateLimitService.ShouldRateLimit, request)
  for (let tries = 0; typeof (await ask({ domain: 'none', descriptors: [{}] })) === 'number';) {
    if ((tries += 1) > 100) throw new Error('the peer does not answer')
    await sleep(100)
  }
  return {
    ask,
    stop() {
      client.close()
      child.kill('SIGKILL')
    },
  }
}

function startOwn({ address }: Ground, settings: Partial<CounterSettings>, quotaMode = false) {
  const { counters } = openCounters(
    {
      ...{ mode: 'safe', stopWhenOver: false, expirationJitterMaxSeconds: 300 },
      store: { kind: 'redis', address, timeoutMs: 1000 },
      ...{ perSecond: undefined, cacheKeyPrefix: '', localCacheBytes: 0 },
      ...settings,
    },
    {
      clock: systemClock,
      random: Math.random,
      heapBytes: Infinity,
      onUnavailable: () => undefined,
      onAvailable: () => undefined,
    },
  )
  const service = createRateLimitService({
    config: () => config,
    counters,
    ...{ shadowMode: false, quotaMode, nearLimitRatio: 0.8 },
    responseDynamicMetadata: true,
    headers: {
      limit: 'RateLimit-Limit',
      remaining: 'RateLimit-Remaining',
      reset: 'RateLimit-Reset',
    },
    onAnswer: () => undefined,
  })
  const method = rateLimitService.ShouldRateLimit
  return {
    ask: async (request: RateLimitRequest) =>
      method.responseDeserialize(method.responseSerialize(await service.answer(request))),
    stop: () => {
      counters.close()
    },
  }
}

/**
 * Without the seconds to the end of the window, which go by between two answers, and without what is empty. How many
 * blanks a limit has in the metadata is by chance in each build of the peer.
 */
function comparable(answer: unknown): unknown {
  return JSON.parse(
    JSON.stringify(answer, (key, value: unknown) => {
      if (key === 'durationUntilReset') return undefined
      if (key === 'name' && value === '') return undefined
      if ((key === 'limitRemaining' || key === 'requestsPerUnit') && value === 0) return undefined
      if (key === 'stringValue') return String(value).replaceAll(/ +/g, ' ')
      if (key === 'responseHeadersToAdd') return (value as unknown[]).slice(0, 2)
      return value
    }),
  )
}

async function compare(ground: Ground, settings: Partial<CounterSettings>) {
  const name = `${JSON.stringify(settings)} on ${ground.name}`
  await ground.flush()
  const stop = String(settings.stopWhenOver ?? false)
  const peer = await startPeer(ground, {
    CACHE_KEY_PREFIX: 'theirs',
    STOP_CACHE_KEY_INCREMENT_WHEN_OVERLIMIT: stop,
  })
  const own = startOwn(ground, settings)
  const below = numbersFrom(Number(seedText))
  let over = 0
  for (let index = 0; index < Number(callCount); index += 1) {
    // Other values now and then, or all would be over.
    if (index % 40 === 0) await ground.flush()
    const request = randomRequest(below, 'd')
    const theirs = comparable(await peer.ask(request))
    const ours = comparable(await own.ask(request))
    if (!isDeepStrictEqual(theirs, ours)) {
      console.log(JSON.stringify({ name, index, request, theirs, ours }, null, 2))
      process.exitCode = 1
      break
    }
    if ((ours as { overallCode: number }).overallCode === 2) over += 1
  }
  console.log(`${name}: ${callCount} calls compared, ${String(over)} of them over the limit`)
  peer.stop()
  own.stop()
}

/** What the metadata says of quota mode: of the rules', or of all. */
async function compareQuotas(ground: Ground, quotaMode: boolean) {
  const name = `metadata on ${ground.name}, QUOTA_MODE=${String(quotaMode)}`
  await ground.flush()
  const peer = await startPeer(ground, {
    CACHE_KEY_PREFIX: 'theirs',
    QUOTA_MODE: String(quotaMode),
  })
  const own = startOwn(ground, {}, quotaMode)
  const below = numbersFrom(Number(seedText))
  let over = 0
  for (let index = 0; index < Number(callCount); index += 1) {
    if (index % 40 === 0) await ground.flush()
    const request = randomRequest(below, 'q')
    const metadataOf = (answer: number | RateLimitResponse): unknown =>
      comparable(typeof answer === 'number' ? answer : answer.dynamicMetadata)
    const theirs = metadataOf(await peer.ask(request))
    const ours = metadataOf(await own.ask(request))
    if (!isDeepStrictEqual(theirs, ours)) {
      console.log(JSON.stringify({ name, index, request, theirs, ours }, null, 2))
      process.exitCode = 1
      break
    }
    if (JSON.stringify(ours).includes('quotaModeViolations')) over += 1
  }
  console.log(`${name}: ${callCount} calls compared, in ${String(over)} of them one is over`)
  peer.stop()
  own.stop()
}

/** Each sees what the other has counted. */
async function alternate(ground: Ground): Promise<void> {
  await ground.flush()
  const peer = await startPeer(ground, {})
  const own = startOwn(ground, { mode: 'shared' })
  const request = {
    domain: 'd',
    descriptors: [
      { entries: [{ key: 'path', value: 'a/b c_d' }] },
      { entries: [{ key: 'file', value: 'f9' }] },
    ],
  }
  const left: unknown[] = []
  for (let turn = 0; turn < 10; turn += 1) {
    const answer = await (turn % 2 === 0 ? peer : own).ask(request)
    if (typeof answer === 'number') throw new Error(`status ${String(answer)}`)
    left.push(answer.statuses.map(({ limitRemaining = 0 }) => limitRemaining).join('/'))
  }
  console.log(
    `in turn on ${ground.name}, left: ${left.join(' ')}; keys ${(await ground.keys()).join(' ')}`,
  )
  peer.stop()
  own.stop()
}

for (const start of [onServer, onSentinel, onCluster]) {
  const ground = await start()
  for (const mode of ['safe', 'shared'] as const) {
    for (const stopWhenOver of [false, true]) await compare(ground, { mode, stopWhenOver })
  }
  for (const quotaMode of [false, true]) await compareQuotas(ground, quotaMode)
  await alternate(ground)
  await ground.stop()
}
rmSync(directory, { recursive: true })
process.exit()
