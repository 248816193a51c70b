import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Client, credentials, status } from '@grpc/grpc-js'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { startChild } from '../deploy/demo/child.js'
import type { Child } from '../deploy/demo/child.js'
import { rateLimitService } from '../src/envoy/protos.js'
import { boundsIn } from '../src/quota/memory/bounds.js'
import { maxCountersIn } from '../src/ratelimit/memory-counters.js'
import { call, chatOf, check } from './as-envoy.js'
import { play } from './cli/terminal.js'

// The program in a heap of a chosen size, without Envoy.

const program = join(import.meta.dirname, '..', 'dist', 'cli.js')
const directory = mkdtempSync(join(tmpdir(), 'tollgate-serve-heap-'))
const policyFile = join(directory, 'policy.yaml')
const logFile = join(directory, 'log')
const socket = join(directory, 'grpc.sock')
// With less, Node 24 has not enough for the rest of it.
const heapBytes = 128 * 2 ** 20
const smallHeap = `--max-old-space-size=${String(heapBytes / 2 ** 20)}`
const QUOTAS = 1000

let key: string
let child: Child | undefined
let client: Client
afterAll(async () => {
  client.close()
  await child?.stop()
  rmSync(directory, { recursive: true })
})

function policyOf(entry: string): string {
  const quotas = Array.from(
    { length: QUOTAS },
    (_, index) =>
      `  - { name: q${String(index)}, unit: requests, limit: 9, window: 1h, by: [tenant, spiffe] }`,
  )
  return `
listen: { grpc: 'unix://${socket}', metrics: '127.0.0.1:0', admin: '127.0.0.1:0' }
apiKeys: [${entry}]
models: [{ name: llama, tokenizer: cl100k_base, contextTokens: 8192, pool: gpu-a }]
grants: [{ tenants: [acme], models: [llama], unlimited: true }]
limits: { examinationWorkers: 1 }
rateLimitService: { configDir: limits }
drain: { delayMs: 0, deadlineMs: 0 }
quotas:
${quotas.join('\n')}
`
}

beforeAll(async () => {
  const { out } = await play(['key', 'new', '--id', 'a', '--tenant', 'acme', '--subject', 'batch'])
  const [made = '', , entry = ''] = out.split('\n')
  key = made
  const limits = join(directory, 'limits')
  mkdirSync(limits)
  const rule = 'rate_limit: { unit: year, requests_per_unit: 2 }'
  writeFileSync(join(limits, 'edge.yaml'), `domain: edge\ndescriptors: [{ key: k, ${rule} }]`)
  writeFileSync(policyFile, policyOf(entry.replace(/^- /, '')))
  child = await startChild({
    command: process.execPath,
    args: [smallHeap, program, 'serve', '--policy', policyFile],
    logFile,
  })
  await vi.waitFor(
    () => {
      const log = readFileSync(logFile, 'utf8')
      if (child?.running() !== true) throw new Error(log)
      expect(log).toContain('tollgate is listening')
    },
    { timeout: 25_000, interval: 50 },
  )
  client = new Client(`unix:${socket}`, credentials.createInsecure())
}, 40_000)

test('the ledger in memory holds as many partitions as the heap of its process has room for', async () => {
  const fitting = Math.floor(boundsIn(heapBytes).maxPartitions / QUOTAS)
  /** Each peer has partitions of its own, one of each quota. */
  const answerTo = async (peer: number): Promise<string> => {
    const { attributes } = chatOf(key, String(peer))
    const source = { principal: `spiffe://acme.example/${String(peer)}` }
    const response = await check(client, { attributes: { ...attributes, source } })
    if (typeof response === 'number') return `failed: ${String(response)}`
    return 'deniedResponse' in response ? response.deniedResponse.body : 'allowed'
  }
  for (let peer = 0; peer < fitting; peer += 1) expect(await answerTo(peer)).toBe('allowed')
  expect(await answerTo(fitting)).toContain('"code":"quota_store_unavailable"')
})

test('beside a full ledger the counters of rate limits end where the heap has no room for more', async () => {
  /** Codes as the wire has them: 1 is OK, 2 is OVER_LIMIT. */
  const count = async (values: readonly string[]): Promise<readonly number[] | number> => {
    const descriptors = values.map((value) => ({ entries: [{ key: 'k', value }] }))
    const request = { domain: 'edge', descriptors }
    const answer = await call(client, rateLimitService.ShouldRateLimit, request)
    return typeof answer === 'number' ? answer : answer.statuses.map(({ code }) => Number(code))
  }
  const fitting = maxCountersIn(heapBytes)
  /** Some at once: the program counts while the next are written. */
  const fill = async (begin: number, step: number): Promise<void> => {
    for (let from = begin; from < fitting; from += step) {
      const length = Math.min(128, fitting - from)
      const codes = await count(Array.from({ length }, (_, index) => String(from + index)))
      expect(codes).toHaveLength(length)
    }
  }
  await Promise.all([0, 1, 2, 3].map((turn) => fill(128 * turn, 4 * 128)))
  expect(await count(['one more'])).toBe(status.UNAVAILABLE)
  // It lives, and what it has counted still limits.
  expect(await count(['0'])).toEqual([1])
  expect(await count(['0'])).toEqual([2])
})
