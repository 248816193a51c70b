import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Client, credentials } from '@grpc/grpc-js'
import { afterAll, expect, test, vi } from 'vitest'
import { startChild } from '../deploy/demo/child.js'
import type { Child } from '../deploy/demo/child.js'
import { chatOf, check } from './as-envoy.js'
import { freePort } from './free-port.js'
import { play } from './cli/terminal.js'

// The program with API keys and no issuer, as it is started in a pod, without Envoy.

const program = join(import.meta.dirname, '..', 'dist', 'cli.js')
const directory = mkdtempSync(join(tmpdir(), 'tollgate-serve-api-keys-'))
const policyFile = join(directory, 'policy.yaml')
const logFile = join(directory, 'log')
const metricsPort = await freePort()
const patience = { timeout: 25_000, interval: 50 }

let child: Child | undefined
afterAll(async () => {
  await child?.stop()
  rmSync(directory, { recursive: true })
})

function policyOf(...entries: readonly string[]): string {
  return `
listen: { grpc: 'unix://${join(directory, 'grpc.sock')}', metrics: '127.0.0.1:${String(metricsPort)}', admin: '127.0.0.1:0' }
apiKeys:
${entries.join('\n')}
models: [{ name: llama, tokenizer: cl100k_base, contextTokens: 8192, pool: gpu-a }]
grants: [{ tenants: [acme], models: [llama] }]
quotas: [{ name: key-minute, unit: tokens, limit: 100000, window: 1m, by: [tenant, api_key] }]
limits: { examinationWorkers: 1 }
drain: { delayMs: 0, deadlineMs: 0 }
`
}

/** A key and its entry, as `tollgate key new` prints them. */
async function newKey(id: string): Promise<{ readonly key: string; readonly entry: string }> {
  const { out } = await play(['key', 'new', '--id', id, '--tenant', 'acme', '--subject', 'batch'])
  const [key = '', , entry = ''] = out.split('\n')
  return { key, entry: `  ${entry}` }
}

test('a policy of keys alone is ready at once; a printed key is its caller, until a reload takes it out', async () => {
  const [first, second] = [await newKey('first'), await newKey('second')]
  writeFileSync(policyFile, policyOf(first.entry))
  child = await startChild({
    command: process.execPath,
    args: [program, 'serve', '--policy', policyFile],
    logFile,
  })
  const log = (): string => readFileSync(logFile, 'utf8')
  await vi.waitFor(() => {
    if (child?.running() !== true) throw new Error(log())
    expect(log()).toContain('tollgate is listening')
  }, patience)
  expect((await fetch(`http://127.0.0.1:${String(metricsPort)}/readyz`)).status).toBe(200)

  const client = new Client(`unix:${join(directory, 'grpc.sock')}`, credentials.createInsecure())
  let ids = 0
  const answerTo = async (key: string): Promise<string> => {
    const response = await check(client, chatOf(key, String((ids += 1))))
    if (typeof response === 'number') return `failed: ${String(response)}`
    return 'deniedResponse' in response ? response.deniedResponse.body : 'allowed'
  }
  expect(await answerTo(first.key)).toBe('allowed')
  expect(await answerTo(second.key)).toContain('"code":"credential_invalid"')

  // Beside each other for a while, then the new one alone.
  writeFileSync(policyFile, policyOf(first.entry, second.entry))
  await vi.waitFor(async () => {
    expect(await answerTo(second.key)).toBe('allowed')
  }, patience)
  expect(await answerTo(first.key)).toBe('allowed')
  writeFileSync(policyFile, policyOf(second.entry))
  await vi.waitFor(async () => {
    expect(await answerTo(first.key)).toContain('"code":"credential_invalid"')
  }, patience)
  expect(await answerTo(second.key)).toBe('allowed')

  // A key in the place of its hash is refused unseen, and the last good policy stays.
  writeFileSync(policyFile, policyOf(second.entry.replace(/sha256: "\w+"/, `sha256: ${first.key}`)))
  await vi.waitFor(() => {
    expect(log()).toContain('apiKeys[0].sha256')
  }, patience)
  expect(await answerTo(second.key)).toBe('allowed')
  expect(log()).not.toContain('tgk_')
  for (const { key } of [first, second]) expect(log()).not.toContain(key.slice(4))
  client.close()
})
