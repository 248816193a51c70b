import { generateKeyPairSync } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Client, credentials, status } from '@grpc/grpc-js'
import type { MethodDefinition } from '@grpc/grpc-js'
import { SignJWT } from 'jose'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { startChild } from '../deploy/demo/child.js'
import type { Child } from '../deploy/demo/child.js'
import { authorizationService, rateLimitService } from '../src/envoy/protos.js'
import { startRedis } from './redis-server.js'
import type { RedisServer } from './redis-server.js'

// Two programs, as in two pods, that share their spending in one Redis. Without Envoy.

const program = join(import.meta.dirname, '..', 'dist', 'cli.js')
const directory = mkdtempSync(join(tmpdir(), 'tg-redis-'))
const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })

/** All that a start asks of a provider: who it is, and its keys. */
const provider = createServer((request, response) => {
  const issuer = `http://${request.headers.host ?? ''}`
  const documents: Record<string, object> = {
    '/.well-known/openid-configuration': { issuer, jwks_uri: `${issuer}/jwks` },
    '/jwks': { keys: [{ ...publicKey.export({ format: 'jwk' }), kid: 'k', alg: 'ES256' }] },
  }
  response.setHeader('content-type', 'application/json')
  response.end(JSON.stringify(documents[request.url ?? ''] ?? {}))
})

let issuer: string
let redis: RedisServer
const programs: { readonly child: Child; readonly client: Client; readonly log: () => string }[] =
  []

beforeAll(async () => {
  redis = await startRedis('--requirepass', 'secret-of-redis')
  provider.listen(0, '127.0.0.1')
  await once(provider, 'listening')
  issuer = `http://127.0.0.1:${String((provider.address() as AddressInfo).port)}`
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

function policy(name: string): string {
  return `
listen: { grpc: 'unix://${join(directory, `${name}.sock`)}', metrics: '127.0.0.1:0', admin: '127.0.0.1:0' }
ledger: { kind: redis, url: 'redis://127.0.0.1:${String(redis.port)}', passwordFile: password, timeoutMs: 2000 }
issuers:
  - { issuer: '${issuer}', insecureHttp: true, audiences: [llm], algorithms: [ES256], tenant: { fixed: acme } }
models: [{ name: llama, tokenizer: o200k_base, contextTokens: 8192, pool: gpu-a }]
grants: [{ tenants: [acme], models: [llama] }]
quotas:
  - { name: month, unit: requests, limit: 8, window: month, timezone: UTC, by: [tenant, subject] }
  - { name: tokens, unit: tokens, limit: 1000000, window: 1d, by: [tenant] }
limits: { examinationWorkers: 1 }
drain: { delayMs: 0, deadlineMs: 0 }
`
}

async function start(name: string) {
  const policyFile = join(directory, `${name}.yaml`)
  writeFileSync(policyFile, policy(name))
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

function call<Request, Response>(
  client: Client,
  method: MethodDefinition<Request, Response>,
  request: Request,
): Promise<Response | number> {
  return new Promise((resolve) => {
    client.makeUnaryRequest(
      method.path,
      method.requestSerialize,
      method.responseDeserialize,
      request,
      (error, response) => {
        resolve(error?.code ?? response ?? status.UNKNOWN)
      },
    )
  })
}

/** The reservation of an allow, `denied`, or the status of a call that failed. */
async function check(client: Client, id: string, subject: string): Promise<string | number> {
  const credential = await new SignJWT({ sub: subject, aud: 'llm' })
    .setProtectedHeader({ alg: 'ES256', kid: 'k' })
    .setIssuer(issuer)
    .setExpirationTime('1h')
    .sign(privateKey)
  const body = JSON.stringify({
    model: 'llama',
    max_tokens: 10,
    messages: [{ role: 'user', content: 'Good morning.' }],
  })
  const header = (key: string, value: string) => ({ key, rawValue: Buffer.from(value) })
  const response = await call(client, authorizationService.Check, {
    attributes: {
      request: {
        time: { seconds: 1, nanos: 1 },
        http: {
          id,
          method: 'POST',
          path: '/v1/chat/completions',
          rawBody: Buffer.from(body),
          headerMap: {
            headers: [
              header('authorization', `Bearer ${credential}`),
              header('content-type', 'application/json'),
            ],
          },
        },
      },
    },
  })
  if (typeof response === 'number') return response
  if (!('okResponse' in response)) return 'denied'
  const reservation = response.dynamicMetadata?.fields?.['reservation']
  return reservation !== undefined && 'stringValue' in reservation ? reservation.stringValue : ''
}

/** No engine got a byte. */
function release(client: Client, reservation: string) {
  const entries = [
    { key: 'reservation', value: reservation },
    { key: 'report', value: 'upstream_bytes' },
  ]
  const request = { domain: 'tollgate', descriptors: [{ entries, hitsAddend: {} }] }
  return call(client, rateLimitService.ShouldRateLimit, request)
}

const clients = (): readonly Client[] => programs.map(({ client }) => client)
const either = (index: number): Client => clients()[index % 2] as Client

describe('two programs on one Redis', () => {
  test('admit of 64 at once exactly the 8 that fit, and take the reports of each other', async () => {
    const answers = await Promise.all(
      Array.from({ length: 64 }, (_, index) => check(either(index), `s${String(index)}`, 'alice')),
    )
    const admitted = answers.filter((answer) => answer !== 'denied')
    expect(admitted).toHaveLength(8)
    expect(await check(either(0), 'later', 'alice')).toBe('denied')

    const made = answers.findIndex((answer) => answer !== 'denied')
    await release(either(made + 1), String(answers[made]))
    expect(await check(either(made + 1), 'again', 'alice')).toMatch(/^[\w-]{22}$/)
    expect(await check(either(0), 'over', 'alice')).toBe('denied')
  })

  test('refuse when it is gone, and go on when it is back', async () => {
    expect(await check(either(0), 'before', 'bob')).toMatch(/^[\w-]{22}$/)
    redis.pause()
    const answers = await Promise.all([0, 1].map((index) => check(either(index), 'gone', 'bob')))
    expect(answers).toEqual([status.UNAVAILABLE, status.UNAVAILABLE])
    redis.resume()
    await vi.waitFor(
      async () => {
        for (const index of [0, 1]) {
          const id = `back ${String(index)}`
          expect(await check(either(index), id, 'bob')).toMatch(/^[\w-]{22}$/)
        }
      },
      { timeout: 20_000, interval: 50 },
    )
  })

  test('settle afterwards a report that came while it was gone', async () => {
    const made: (string | number)[] = []
    for (let index = 0; index < 8; index += 1) {
      made.push(await check(either(index), `c${String(index)}`, 'carol'))
    }
    expect(await check(either(0), 'ninth', 'carol')).toBe('denied')
    redis.pause()
    expect(await release(either(1), String(made[0]))).toBe(status.UNAVAILABLE)
    redis.resume()
    await vi.waitFor(
      async () => {
        expect(await check(either(0), 'in its place', 'carol')).toMatch(/^[\w-]{22}$/)
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
})
