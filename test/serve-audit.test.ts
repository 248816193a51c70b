import { execFile } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { Client, credentials, status } from '@grpc/grpc-js'
import { afterAll, describe, expect, test, vi } from 'vitest'
import { startChild } from '../deploy/demo/child.js'
import type { Child } from '../deploy/demo/child.js'
import { check } from './as-envoy.js'

// The program as it is started in a pod, without Envoy: what its audit file holds, and what waits for it.

const program = join(import.meta.dirname, '..', 'dist', 'cli.js')
const directory = mkdtempSync(join(tmpdir(), 'tollgate-serve-audit-'))
const file = join(directory, 'audit.jsonl')
const publicKeyFile = join(directory, 'audit.pub')
const children: Child[] = []
afterAll(async () => {
  for (const child of children) await child.stop()
  rmSync(directory, { recursive: true })
})

writeKeys()
function writeKeys(): void {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519')
  writeFileSync(join(directory, 'audit.pem'), privateKey.export({ format: 'pem', type: 'pkcs8' }))
  writeFileSync(publicKeyFile, publicKey.export({ format: 'pem', type: 'spki' }))
}

/** The only path that is there is public: what is asked needs no identity provider. */
function policy(): string {
  return `
listen: { grpc: 'unix://${join(directory, 'grpc.sock')}', metrics: '127.0.0.1:0', admin: '127.0.0.1:0' }
issuers:
  - { issuer: 'http://127.0.0.1:1', insecureHttp: true, audiences: [a], algorithms: [ES256], tenant: { fixed: t } }
paths: [{ path: /health, method: GET, pool: gpu-a, public: true }]
limits: { examinationWorkers: 1 }
drain: { delayMs: 0, deadlineMs: 0 }
audit: { file: '${file}', keyFile: '${join(directory, 'audit.pem')}', required: true, writeTimeoutMs: 20000 }
`
}

interface Tollgate {
  readonly child: Child
  /** What it wrote to standard output. */
  readonly output: () => string
}

/** As soon as it runs, long before it listens. */
async function begin(): Promise<Tollgate> {
  const policyFile = join(directory, 'policy.yaml')
  writeFileSync(policyFile, policy())
  const logFile = join(directory, 'log')
  const child = await startChild({
    command: process.execPath,
    args: [program, 'serve', '--policy', policyFile],
    logFile,
  })
  children.push(child)
  return { child, output: () => readFileSync(logFile, 'utf8') }
}

async function start(): Promise<Tollgate> {
  const tollgate = await begin()
  const { child, output } = tollgate
  const patience = { timeout: 25_000, interval: 50 }
  await vi.waitFor(() => {
    if (!child.running()) throw new Error(output())
    expect(output()).toContain('tollgate is listening')
  }, patience)
  return tollgate
}

/** How one Check ends: `allow`, the status of a refusal, or the gRPC status of a failure. */
async function endOfCheck(path: string): Promise<string> {
  const client = new Client(`unix:${join(directory, 'grpc.sock')}`, credentials.createInsecure())
  const http = { id: '1', method: 'GET', path }
  const response = await check(client, { attributes: { request: { http } } })
  client.close()
  if (typeof response === 'number') return status[response] ?? ''
  return 'deniedResponse' in response ? String(response.deniedResponse.status.code) : 'allow'
}

function records(): Record<string, unknown>[] {
  const lines = readFileSync(file, 'utf8').trimEnd().split('\n')
  return lines.map((line) => JSON.parse(line) as Record<string, unknown>)
}

async function verdictOf(): Promise<string> {
  const args = [program, 'verify-audit', file, '--key', publicKeyFile]
  return (await promisify(execFile)(process.execPath, args)).stdout
}

describe('a record that is required', () => {
  let tollgate: Tollgate

  test('is there for the start, and for each policy that was taken or refused', async () => {
    tollgate = await start()
    expect(records()[1]).toMatchObject({ type: 'lifecycle', event: 'start' })
    for (const [text, event] of [
      [`${policy()}cors: { origins: ['https://chat.example'] }\n`, 'policy_loaded'],
      ['issuers: []\n', 'policy_refused'],
    ] as const) {
      writeFileSync(join(directory, 'policy.yaml'), text)
      await vi.waitFor(
        () => {
          expect(records().at(-1)).toMatchObject({ type: 'lifecycle', event })
        },
        { timeout: 20_000, interval: 50 },
      )
    }
  })

  test('is in the file when the allow is answered', async () => {
    expect(await endOfCheck('/health')).toBe('allow')
    expect(records().at(-1)).toMatchObject({ type: 'decision', decision: 'allow', path: '/health' })
  })

  test('that cannot be written makes a failure of an allow, and leaves a refusal what it is', async () => {
    const kept = join(directory, 'kept.jsonl')
    renameSync(file, kept)
    writeFileSync(file, 'of somebody else\n')
    expect(await endOfCheck('/health')).toBe('UNAVAILABLE')
    expect(await endOfCheck('/nowhere')).toBe('404')
    rmSync(file)
    renameSync(kept, file)
    expect(await endOfCheck('/health')).toBe('allow')
    expect(records().slice(-2)).toMatchObject([
      { type: 'gap', lostRecords: 2 },
      { type: 'decision', decision: 'allow' },
    ])
  })

  test('is signed at the end, in the file and on standard output alike', async () => {
    tollgate.child.signal('SIGTERM')
    expect(await tollgate.child.exited).toBe(0)
    const last = readFileSync(file, 'utf8').trimEnd().split('\n').at(-1) ?? ''
    expect(records().slice(-2)).toMatchObject([
      { type: 'lifecycle', event: 'stop' },
      { type: 'checkpoint' },
    ])
    expect(tollgate.output().split('\n')).toContain(last)
    expect(await verdictOf()).toMatch(/^intact: (\d+) of \1 lines are proved/)
  })
})

test('a signal that comes while it starts ends it as one that comes later does', async () => {
  rmSync(file)
  const { child, output } = await begin()
  // Its file is the first part that is there: the encodings are loaded after it, which takes the longest of all.
  await vi.waitFor(
    () => {
      expect(existsSync(file)).toBe(true)
    },
    { timeout: 25_000, interval: 5 },
  )
  child.signal('SIGHUP')
  child.signal('SIGTERM')
  expect(await child.exited).toBe(0)
  expect(records().slice(-2)).toMatchObject([
    { type: 'lifecycle', event: 'stop' },
    { type: 'checkpoint' },
  ])
  // Whoever takes in the log until then has the last checkpoint, too.
  const lines = output().trimEnd().split('\n')
  expect(lines.slice(-2)).toEqual([
    expect.stringContaining('checkpoint'),
    expect.stringContaining('"msg":"stopped"'),
  ])
})
