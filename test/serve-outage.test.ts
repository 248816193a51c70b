import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Client, credentials } from '@grpc/grpc-js'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { startChild } from '../deploy/demo/child.js'
import type { Child } from '../deploy/demo/child.js'
import { chatOf, check, reservationOf } from './as-envoy.js'
import { freePort } from './free-port.js'
import { startRedis } from './redis-server.js'
import type { RedisServer } from './redis-server.js'
import { proofScale } from './runs.js'
import { startSmallProvider } from './small-provider.js'
import type { SmallProvider } from './small-provider.js'

// Several programs, as in as many pods, whose Redis is killed: what all of them admit together.

const PROCESSES = proofScale > 1 ? 4 : 2
const LIMIT = 101
/** As the policy of the first program says; the others count what they see. */
const AT_LEAST = 2 * PROCESSES
const IN_FLIGHT = 16

const program = join(import.meta.dirname, '..', 'dist', 'cli.js')
const directory = mkdtempSync(join(tmpdir(), 'tg-outage-'))

interface Program {
  readonly child: Child
  readonly client: Client
  readonly metricsPort: number
}

let provider: SmallProvider
let redis: RedisServer
let programs: readonly Program[] = []

beforeAll(async () => {
  redis = await startRedis()
  provider = await startSmallProvider()
  programs = await Promise.all(
    Array.from({ length: PROCESSES }, (_, index) => start(index, index === 0 ? AT_LEAST : 1)),
  )
})
afterAll(async () => {
  for (const { client, child } of programs) {
    client.close()
    await child.stop()
  }
  provider.close()
  await redis.stop()
  rmSync(directory, { recursive: true })
})

async function start(index: number, atLeast: number): Promise<Program> {
  const file = (suffix: string): string => join(directory, `${String(index)}.${suffix}`)
  const metricsPort = await freePort()
  writeFileSync(
    file('yaml'),
    `
listen: { grpc: 'unix://${file('sock')}', metrics: '127.0.0.1:${String(metricsPort)}', admin: '127.0.0.1:0' }
ledger: { kind: redis, url: 'redis://127.0.0.1:${String(redis.port)}', timeoutMs: 5000, processes: ${String(atLeast)} }
issuers:
  - { issuer: '${provider.issuer}', insecureHttp: true, audiences: [llm], algorithms: [ES256], tenant: { fixed: acme } }
models: [{ name: llama, tokenizer: cl100k_base, contextTokens: 8192, pool: gpu-a }]
grants: [{ tenants: [acme], models: [llama] }]
quotas:
  - { name: day, unit: requests, limit: ${String(LIMIT)}, window: 24h, by: [tenant, subject], onStoreFailure: local }
  - { name: tokens, unit: tokens, limit: 1000000000, window: 1d, by: [tenant], onStoreFailure: allow }
limits: { examinationWorkers: 1 }
drain: { delayMs: 0, deadlineMs: 0 }
`,
  )
  const logFile = file('log')
  const child = await startChild({
    command: process.execPath,
    args: [program, 'serve', '--policy', file('yaml')],
    logFile,
  })
  await eventually(() => {
    const log = readFileSync(logFile, 'utf8')
    if (!child.running()) throw new Error(log)
    expect(log).toContain('tollgate is listening')
  })
  const client = new Client(`unix:${file('sock')}`, credentials.createInsecure())
  return { child, client, metricsPort }
}

function eventually<T>(attempt: () => Promise<T> | T): Promise<T> {
  return vi.waitFor(attempt, { timeout: 40_000, interval: 50 })
}

async function processesSeenBy({ metricsPort }: Program): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${String(metricsPort)}/metrics`)).text()
  return Number(/^tollgate_ledger_processes (\d+)$/m.exec(text)?.[1])
}

let streams = 0

/** How many of so many requests to each of them pass, with as many under way at each. */
async function admitted(subject: string, attemptsEach: number): Promise<number> {
  const credential = await provider.credentialOf(subject)
  let passed = 0
  await Promise.all(
    programs.map(async ({ client }) => {
      let left = attemptsEach
      const ask = async (): Promise<void> => {
        while ((left -= 1) >= 0) {
          const response = await check(client, chatOf(credential, `s${String((streams += 1))}`))
          if (typeof response === 'number') throw new Error(`status ${String(response)}`)
          if (reservationOf(response) !== undefined) passed += 1
        }
      }
      await Promise.all(Array.from({ length: IN_FLIGHT }, ask))
    }),
  )
  return passed
}

test('after a Redis is killed, all processes together admit their shares and no more, also over a second outage', async () => {
  await eventually(async () => {
    for (const one of programs) expect(await processesSeenBy(one)).toBe(PROCESSES)
  })
  expect(await admitted('alice', LIMIT)).toBe(LIMIT)

  const { port } = redis
  await redis.stop()
  const shares = Math.floor(LIMIT / AT_LEAST) + (PROCESSES - 1) * Math.floor(LIMIT / PROCESSES)
  // What the last answers of Redis said of her is believed for a second.
  let passed = 0
  await eventually(async () => {
    passed += await admitted('alice', LIMIT)
    expect(passed).toBeGreaterThan(0)
  })
  expect(passed + (await admitted('alice', LIMIT))).toBe(shares)
  expect(await admitted('bob', 10)).toBe(Math.min(PROCESSES * 10, shares))

  // It comes back with nothing, and goes again.
  redis = await startRedis('--port', String(port))
  const credential = await provider.credentialOf('carol')
  for (const { client } of programs) {
    await eventually(async () => {
      const response = await check(client, chatOf(credential, `s${String((streams += 1))}`))
      expect(typeof response === 'number' ? response : reservationOf(response)).toMatch(
        /^[\w-]{22}$/,
      )
    })
  }
  await redis.stop()
  expect(await admitted('alice', LIMIT)).toBe(0)
  expect(await admitted('bob', LIMIT)).toBe(shares - Math.min(PROCESSES * 10, shares))
})
