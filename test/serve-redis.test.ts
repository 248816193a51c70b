import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Client, credentials, status } from '@grpc/grpc-js'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { startChild } from '../deploy/demo/child.js'
import type { Child } from '../deploy/demo/child.js'
import { chatOf, check, report, reservationOf } from './as-envoy.js'
import { startRedis } from './redis-server.js'
import type { RedisServer } from './redis-server.js'
import { startSmallProvider } from './small-provider.js'
import type { SmallProvider } from './small-provider.js'

// Two programs, as in two pods, that share their spending in one Redis. Without Envoy.

const program = join(import.meta.dirname, '..', 'dist', 'cli.js')
const directory = mkdtempSync(join(tmpdir(), 'tg-redis-'))

let provider: SmallProvider
let redis: RedisServer
const programs: { readonly child: Child; readonly client: Client; readonly log: () => string }[] =
  []

beforeAll(async () => {
  redis = await startRedis('--requirepass', 'secret-of-redis')
  provider = await startSmallProvider()
  writeFileSync(join(directory, 'password'), 'secret-of-redis\n')
  for (const name of ['a', 'b']) programs.push(await start(name))
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

const quotas = `
  - { name: month, unit: requests, limit: 8, window: month, timezone: UTC, by: [tenant, subject] }
  - { name: tokens, unit: tokens, limit: 1000000, window: 1d, by: [tenant] }`

/** Of all callers together, and so large that slices are worth it. */
const slicedQuotas = `
  - { name: all, unit: requests, limit: 8000, window: month, timezone: UTC, by: [], slices: true }
  - { name: all-tokens, unit: tokens, limit: 100000000, window: 1d, by: [], slices: true }`

function policy(name: string, quotasOfIt: string, drainDeadlineMs: number): string {
  return `
listen: { grpc: 'unix://${join(directory, `${name}.sock`)}', metrics: '127.0.0.1:0', admin: '127.0.0.1:0' }
ledger: { kind: redis, url: 'redis://127.0.0.1:${String(redis.port)}', passwordFile: password, timeoutMs: 2000 }
issuers:
  - { issuer: '${provider.issuer}', insecureHttp: true, audiences: [llm], algorithms: [ES256], tenant: { fixed: acme } }
models: [{ name: llama, tokenizer: o200k_base, contextTokens: 8192, pool: gpu-a }]
grants: [{ tenants: [acme], models: [llama] }]
quotas: ${quotasOfIt}
limits: { examinationWorkers: 1 }
drain: { delayMs: 0, deadlineMs: ${String(drainDeadlineMs)} }
`
}

async function start(name: string, quotasOfIt = quotas, drainDeadlineMs = 0) {
  const policyFile = join(directory, `${name}.yaml`)
  writeFileSync(policyFile, policy(name, quotasOfIt, drainDeadlineMs))
  const logFile = join(directory, `${name}.log`)
  const child = await startChild({
    command: process.execPath,
    args: [program, 'serve', '--policy', policyFile],
    logFile,
  })
  const log = (): string => readFileSync(logFile, 'utf8')
  await vi.waitFor(
    () => {
      if (!child.running()) throw new Error(log())
      expect(log()).toContain('tollgate is listening')
    },
    { timeout: 25_000, interval: 50 },
  )
  const client = new Client(`unix:${join(directory, `${name}.sock`)}`, credentials.createInsecure())
  return { child, client, log }
}

/** The reservation of an allow, `denied`, or the status of a call that failed. */
async function reserve(client: Client, id: string, subject: string): Promise<string | number> {
  const response = await check(client, chatOf(await provider.credentialOf(subject), id))
  return typeof response === 'number' ? response : (reservationOf(response) ?? 'denied')
}

/** No engine got a byte. */
const release = (client: Client, reservation: string) =>
  report(client, reservation, { upstream_bytes: 0 })

const clients = (): readonly Client[] => programs.map(({ client }) => client)
const either = (index: number): Client => clients()[index % 2] as Client

describe('two programs on one Redis', () => {
  test('admit of 64 at once exactly the 8 that fit, and take the reports of each other', async () => {
    const answers = await Promise.all(
      Array.from({ length: 64 }, (_, index) =>
        reserve(either(index), `s${String(index)}`, 'alice'),
      ),
    )
    const admitted = answers.filter((answer) => answer !== 'denied')
    expect(admitted).toHaveLength(8)
    expect(await reserve(either(0), 'later', 'alice')).toBe('denied')

    const made = answers.findIndex((answer) => answer !== 'denied')
    await release(either(made + 1), String(answers[made]))
    expect(await reserve(either(made + 1), 'again', 'alice')).toMatch(/^[\w-]{22}$/)
    expect(await reserve(either(0), 'over', 'alice')).toBe('denied')
  })

  test('refuse when it is gone, and go on when it is back', async () => {
    expect(await reserve(either(0), 'before', 'bob')).toMatch(/^[\w-]{22}$/)
    redis.pause()
    for (const index of [0, 1]) {
      const request = chatOf(await provider.credentialOf('bob'), 'gone')
      expect(await check(either(index), request)).toMatchObject({
        status: { code: status.UNAVAILABLE },
        deniedResponse: {
          status: { code: 503 },
          body: expect.stringContaining('quota_store_unavailable') as string,
        },
      })
    }
    redis.resume()
    await vi.waitFor(
      async () => {
        for (const index of [0, 1]) {
          const id = `back ${String(index)}`
          expect(await reserve(either(index), id, 'bob')).toMatch(/^[\w-]{22}$/)
        }
      },
      { timeout: 20_000, interval: 50 },
    )
  })

  test('settle afterwards a report that came while it was gone', async () => {
    const made: (string | number)[] = []
    for (let index = 0; index < 8; index += 1) {
      made.push(await reserve(either(index), `c${String(index)}`, 'carol'))
    }
    expect(await reserve(either(0), 'ninth', 'carol')).toBe('denied')
    redis.pause()
    expect(await release(either(1), String(made[0]))).toBe(status.UNAVAILABLE)
    redis.resume()
    await vi.waitFor(
      async () => {
        expect(await reserve(either(0), 'in its place', 'carol')).toMatch(/^[\w-]{22}$/)
      },
      { timeout: 20_000, interval: 50 },
    )
  })

  test('end when they are told, and never log the password', async () => {
    for (const { child, log } of programs) {
      child.signal('SIGTERM')
      expect(await child.exited).toBe(0)
      expect(log()).toContain('"ledger":"redis"')
      expect(log()).not.toContain('secret-of-redis')
    }
  })

  test('leave what was spent to whoever is started next', async () => {
    const again = await start('c')
    programs.push(again)
    expect(await reserve(again.client, 'after', 'alice')).toBe('denied')
    expect(await reserve(again.client, 'after', 'dora')).toMatch(/^[\w-]{22}$/)
  })

  test('wait at their end until what a refused request may hold is given back', async () => {
    const it = await start('refusing', quotas, 600_000)
    programs.push(it)
    await release(it.client, String(await reserve(it.client, 'before', 'erin')))
    redis.pause()
    expect(await reserve(it.client, 'refused', 'erin')).toBe('denied')
    it.child.signal('SIGTERM')
    const patience = { timeout: 20_000, interval: 50 }
    await vi.waitFor(() => {
      expect(it.log()).toContain('"toGiveBack":1,"msg":"draining"')
    }, patience)
    redis.resume()
    expect(await it.child.exited).toBe(0)
    expect(it.log()).not.toContain('the drain deadline is over')
  }, 60_000)

  test('take slices where the policy says so, and give them back when they end', async () => {
    const sliced = await start('sliced', slicedQuotas)
    programs.push(sliced)
    const made: (string | number)[] = []
    for (let index = 0; index < 12; index += 1) {
      made.push(await reserve(sliced.client, `d${String(index)}`, 'dora'))
    }
    for (const id of made) expect(id).toMatch(/^[\w-]{22}$/)
    expect(await release(sliced.client, String(made[11]))).toBe(status.OK)
    // They last for a second.
    let more = 0
    await vi.waitFor(
      async () => {
        await reserve(sliced.client, `e${String((more += 1))}`, 'dora')
        expect(await redis.client.keys('tg2:{0}:s:*')).toHaveLength(2)
      },
      { timeout: 20_000, interval: 50 },
    )
    sliced.child.signal('SIGTERM')
    expect(await sliced.child.exited).toBe(0)
    expect(await redis.client.keys('tg2:{0}:s:*')).toEqual([])
  })

  test('take a report that comes before the other has told Redis of the reservation', async () => {
    const made = await start('makes', slicedQuotas)
    const told = await start('is-told', slicedQuotas, 20_000)
    programs.push(made, told)
    const size = 40
    /** What is decided from slices is told 25 ms later, and this report comes at once. */
    const reportQuickly = async (name: string) => {
      for (let index = 0; index < size; index += 1) {
        const id = await reserve(made.client, `${name}${String(index)}`, 'frank')
        expect(id).toMatch(/^[\w-]{22}$/)
        expect(await release(told.client, String(id))).toBe(status.OK)
      }
    }
    await reportQuickly('f')
    const reports = async (outcome: string) => {
      const text = await metricsOf(told)
      const label = `tollgate_reports_total{outcome="${outcome}"} `
      return Number(
        text
          .split('\n')
          .find((line) => line.startsWith(label))
          ?.slice(label.length),
      )
    }
    await vi.waitFor(
      async () => {
        expect(await reports('released')).toBe(size)
      },
      { timeout: 20_000, interval: 50 },
    )
    expect(await reports('unknown')).toBe(0)

    // A program that is told to end has these done first.
    await reportQuickly('g')
    told.child.signal('SIGTERM')
    expect(await told.child.exited).toBe(0)
    expect(told.log().match(/"reservation ended"/g)).toHaveLength(2 * size)
  })
})

async function metricsOf({ log }: { readonly log: () => string }): Promise<string> {
  const address = /"metrics":"([^"]+)"/.exec(log())?.[1] ?? ''
  return (await fetch(`http://${address}/metrics`)).text()
}
