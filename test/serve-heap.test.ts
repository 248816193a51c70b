import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Client, credentials } from '@grpc/grpc-js'
import { afterAll, expect, test, vi } from 'vitest'
import { startChild } from '../deploy/demo/child.js'
import type { Child } from '../deploy/demo/child.js'
import { boundsIn } from '../src/quota/memory/memory-ledger.js'
import { chatOf, check } from './as-envoy.js'
import { play } from './cli/terminal.js'

// The program in a heap of a chosen size, without Envoy.

const program = join(import.meta.dirname, '..', 'dist', 'cli.js')
const directory = mkdtempSync(join(tmpdir(), 'tollgate-serve-heap-'))
const policyFile = join(directory, 'policy.yaml')
const logFile = join(directory, 'log')
const socket = join(directory, 'grpc.sock')
// With less, Node 24 has not enough for the rest of it.
const smallHeap = '--max-old-space-size=128'
const QUOTAS = 1000

let child: Child | undefined
afterAll(async () => {
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
drain: { delayMs: 0, deadlineMs: 0 }
quotas:
${quotas.join('\n')}
`
}

test('the ledger in memory holds as many partitions as the heap of its process has room for', async () => {
  const limit = 'require("node:v8").getHeapStatistics().heap_size_limit'
  const heapBytes = Number(execFileSync(process.execPath, [smallHeap, '-p', limit]))
  const fitting = Math.floor(boundsIn(heapBytes).maxPartitions / QUOTAS)

  const { out } = await play(['key', 'new', '--id', 'a', '--tenant', 'acme', '--subject', 'batch'])
  const [key = '', , entry = ''] = out.split('\n')
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
  const client = new Client(`unix:${socket}`, credentials.createInsecure())
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
  client.close()
})
