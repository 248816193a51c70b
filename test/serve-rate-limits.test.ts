import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Client, credentials, status } from '@grpc/grpc-js'
import type { MethodDefinition } from '@grpc/grpc-js'
import { service as healthService } from 'grpc-health-check'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { startChild } from '../deploy/demo/child.js'
import type { Child } from '../deploy/demo/child.js'
import { rateLimitService } from '../src/envoy/protos.js'
import { call } from './as-envoy.js'
import { startRedis } from './redis-server.js'
import type { RedisServer } from './redis-server.js'
import { startSmallProvider } from './small-provider.js'
import type { SmallProvider } from './small-provider.js'

// The rate limit service of the program as it is started in a pod, without Envoy.

const program = join(import.meta.dirname, '..', 'dist', 'cli.js')
const directory = mkdtempSync(join(tmpdir(), 'tg-limits-'))
const limits = join(directory, 'limits')
const logFile = join(directory, 'log')
const socket = join(directory, 'grpc.sock')

let provider: SmallProvider
let redis: RedisServer
let child: Child
let client: Client
let metricsUrl: string
let adminUrl: string

const patience = { timeout: 20_000, interval: 50 }

function limitFile(domain: string, count: number): string {
  const rule = `{ unit: year, requests_per_unit: ${String(count)} }`
  return `domain: ${domain}\ndescriptors: [{ key: k, rate_limit: ${rule} }]\n`
}

beforeAll(async () => {
  redis = await startRedis()
  provider = await startSmallProvider()
  mkdirSync(limits)
  writeFileSync(join(limits, 'edge.yaml'), limitFile('edge', 2))
  writeFileSync(
    join(limits, 'twice.yaml'),
    limitFile('twice', 50).replace(' }', ', requests_per_unit: 1 }'),
  )
  const policyFile = join(directory, 'policy.yaml')
  writeFileSync(
    policyFile,
    `
listen: { grpc: 'unix://${socket}', metrics: '127.0.0.1:0', admin: '127.0.0.1:0' }
ledger: { kind: redis, url: '${redis.address.url}', timeoutMs: 500 }
rateLimitService: { configDir: limits, responseHeaders: { enabled: true } }
issuers:
  - { issuer: '${provider.issuer}', insecureHttp: true, audiences: [llm], algorithms: [ES256], tenant: { fixed: acme } }
limits: { examinationWorkers: 1 }
drain: { delayMs: 2000, deadlineMs: 2000 }
`,
  )
  const args = [program, 'serve', '--policy', policyFile]
  child = await startChild({ command: process.execPath, args, logFile })
  await vi.waitFor(
    () => {
      if (!child.running()) throw new Error(log())
      expect(log()).toContain('tollgate is listening')
    },
    { timeout: 25_000, interval: 50 },
  )
  const line = log()
    .split('\n')
    .find((text) => text.includes('tollgate is listening'))
  const told = JSON.parse(line ?? '') as { metrics: string; admin: string }
  metricsUrl = `http://${told.metrics}`
  adminUrl = `http://${told.admin}`
  client = new Client(`unix:${socket}`, credentials.createInsecure())
})
afterAll(async () => {
  client.close()
  await child.stop()
  provider.close()
  await redis.stop()
  rmSync(directory, { recursive: true })
})

function log(): string {
  return readFileSync(logFile, 'utf8')
}

/** `code remaining` of the one descriptor of a call, or the status of one that failed. */
async function ask(domain: string, value: string): Promise<string> {
  const descriptors = [{ entries: [{ key: 'k', value }] }]
  const answer = await call(client, rateLimitService.ShouldRateLimit, { domain, descriptors })
  if (typeof answer === 'number') return status[answer] ?? ''
  const [first] = answer.statuses
  return `${String(answer.overallCode)} ${String(first?.currentLimit?.requestsPerUnit)} ${String(first?.limitRemaining)}`
}

async function metric(series: string): Promise<number> {
  const text = await (await fetch(`${metricsUrl}/metrics`)).text()
  const line = text.split('\n').find((each) => each.startsWith(`${series} `))
  return Number(line?.slice(series.length + 1))
}

/** What gRPC's health service says of `ratelimit`. */
async function health(): Promise<string> {
  const method = healthService['Check'] as unknown as MethodDefinition<object, { status: string }>
  const answer = await call(client, method, { service: 'ratelimit' })
  return typeof answer === 'number' ? (status[answer] ?? '') : answer.status
}

async function healthcheck(): Promise<number> {
  return (await fetch(`${adminUrl}/healthcheck`)).status
}

test('answers over gRPC and as JSON from one counter, and measures', async () => {
  // The decoder leaves enums as numbers: OK is 1, OVER_LIMIT is 2.
  expect(await ask('edge', 'both')).toBe('1 2 1')
  const response = await fetch(`${adminUrl}/json`, {
    method: 'POST',
    body: '{"domain":"edge","descriptors":[{"entries":[{"key":"k","value":"both"}]}]}',
  })
  expect(response.status).toBe(200)
  expect(await response.json()).toMatchObject({
    responseHeadersToAdd: [{ key: 'RateLimit-Limit', value: '2' }, { value: '0' }, {}],
  })
  expect(await ask('edge', 'both')).toBe('2 2 0')
  const keys = await redis.client.keys('*')
  expect(keys.filter((key) => key.startsWith('tg2:l:'))).toHaveLength(1)
  const hits = (result: string) =>
    metric(`tollgate_rate_limit_hits_total{key="edge.k",result="${result}"}`)
  expect([await hits('total_hits'), await hits('over_limit')]).toEqual([3, 1])
})

test('S62, S64: files come, go and are refused while it runs', async () => {
  const loads = (result: string) => metric(`tollgate_rate_limit_loads_total{result="${result}"}`)
  expect(await ask('reload', 'x')).toBe('1 undefined 0')
  writeFileSync(join(limits, 'reload.yaml'), limitFile('reload', 50))
  await vi.waitFor(async () => {
    expect(await ask('reload', 'y')).toMatch(/^1 50 /)
  }, patience)
  expect(await (await fetch(`${adminUrl}/rlconfig`)).text()).toContain(
    'reload.k: unit=YEAR requests_per_unit=50',
  )
  expect(await loads('loaded')).toBe(2)

  writeFileSync(join(limits, 'reload.yaml'), 'domain: tollgate\ndescriptors: []\n')
  await vi.waitFor(async () => {
    expect(await loads('refused')).toBe(1)
    // It is written after it was counted.
    expect(log()).toContain('rate limit files refused, the last good ones stay')
  }, patience)
  expect(await ask('reload', 'y')).toMatch(/^1 50 /)

  rmSync(join(limits, 'reload.yaml'))
  await vi.waitFor(async () => {
    expect(await ask('reload', 'y')).toBe('1 undefined 0')
  }, patience)
  expect(await loads('loaded')).toBe(3)
  expect(log()).not.toContain('no rate limit files')

  renameSync(limits, `${limits}-away`)
  mkdirSync(limits)
  await vi.waitFor(() => {
    expect(log()).toContain('no rate limit files: nothing is limited')
  }, patience)
  rmSync(limits, { recursive: true })
  renameSync(`${limits}-away`, limits)
  await vi.waitFor(async () => {
    expect(await loads('loaded')).toBe(5)
  }, patience)
})

test('S64: SIGHUP looks at the files at once', async () => {
  expect(log()).not.toContain('rate limit files unchanged')
  child.signal('SIGHUP')
  await vi.waitFor(() => {
    expect(log()).toContain('rate limit files unchanged')
  }, patience)
})

test('what is a warning holds, and is logged at the start and at each reload, but not beside a fault', async () => {
  const again = (file: string): string =>
    `limits/${file}:2: descriptors[0].rate_limit.requests_per_unit is given again (this one holds); expected each key once: the first is on line 2`
  /** Since the log was so long. */
  const warned = (from: number): readonly string[] =>
    log()
      .slice(from)
      .split('\n')
      .flatMap((line) => {
        const { level, warning } = (line === '' ? {} : JSON.parse(line)) as {
          readonly level?: unknown
          readonly warning?: string
        }
        return warning === undefined
          ? []
          : [`${String(level)} ${warning.replace(`${directory}/`, '')}`]
      })
  const first = log().indexOf('rate limit files loaded')
  expect(log().slice(0, first)).toContain(again('twice.yaml'))
  expect(await ask('twice', 'x')).toBe('1 1 0')
  expect(await ask('twice', 'x')).toBe('2 1 0')

  const other = join(limits, 'other.yaml')
  let from = log().length
  writeFileSync(other, limitFile('other', 1).replace(' }', ', requests_per_unit: 3 }'))
  await vi.waitFor(() => {
    expect(warned(from)).toEqual([`warn ${again('other.yaml')}`, `warn ${again('twice.yaml')}`])
  }, patience)
  expect(await ask('other', 'x')).toBe('1 3 2')

  from = log().length
  child.signal('SIGHUP')
  await vi.waitFor(() => {
    expect(log().slice(from)).toContain('rate limit files unchanged')
  }, patience)
  writeFileSync(join(limits, 'wrong.yaml'), 'domain: tollgate')
  await vi.waitFor(() => {
    expect(log().slice(from)).toContain('rate limit files refused')
  }, patience)
  expect(warned(from)).toEqual([])
  expect(await ask('other', 'x')).toBe('1 3 1')

  // In this order: it is read without both, or with the wrong one, whenever it is seen.
  rmSync(other)
  rmSync(join(limits, 'wrong.yaml'))
  await vi.waitFor(() => {
    expect(warned(from)).toEqual([`warn ${again('twice.yaml')}`])
  }, patience)
})

test('S66, S75: a store that does not answer fails calls, health follows, and it goes on', async () => {
  await vi.waitFor(async () => {
    expect(await health()).toBe('SERVING')
  }, patience)
  expect(await healthcheck()).toBe(200)
  redis.pause()
  try {
    await vi.waitFor(async () => {
      expect(await ask('edge', 'gone')).toBe('UNAVAILABLE')
      expect(await healthcheck()).toBe(500)
      expect(await health()).toBe('NOT_SERVING')
    }, patience)
    expect(
      await metric('tollgate_failures_total{operation="rate_limit",cause="rate_limit_store"}'),
    ).toBeGreaterThan(0)
  } finally {
    redis.resume()
  }
  // Who routes by that sends no calls until then.
  await vi.waitFor(async () => {
    expect(await healthcheck()).toBe(200)
    expect(await health()).toBe('SERVING')
  }, patience)
  await vi.waitFor(async () => {
    expect(await ask('edge', 'gone')).toMatch(/^[12] 2 /)
  }, patience)
})

test('S75: on SIGTERM it says so at once, and answers on while it drains', async () => {
  child.signal('SIGTERM')
  await vi.waitFor(async () => {
    expect(await healthcheck()).toBe(500)
  }, patience)
  expect(await health()).toBe('NOT_SERVING')
  expect(await ask('edge', 'draining')).toBe('1 2 1')
  expect(await child.exited).toBe(0)
})
