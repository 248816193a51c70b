import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest'
import type { Admission } from '../src/admission.js'
import { readConfig } from '../src/config/load.js'
import type { Decision } from '../src/decision.js'
import { createInlineReader } from '../src/prompt/inline.js'
import type { PromptReader } from '../src/prompt/prompt.js'
import type { GuardedLedger } from '../src/quota/failover/guarded-ledger.js'
import { createLedger } from '../src/quota/ledgers.js'
import { authorize } from './authorize-alone.js'
import { asAlice } from './example-policy.js'
import { postOf } from './example-request.js'
import { startRedis } from './redis-server.js'
import type { RedisServer } from './redis-server.js'

// A whole Check on a Redis that hangs, by what a policy has where it says nothing. Time stands still, but for what the
// test lets pass: what is answered has waited for that and for nothing else.

/** Of 100 ms, 40 are left for all that is not the ledger. */
const DUE_MS = 60

let stoppedMs: number | undefined
const clock = {
  nowEpochMs: () => Date.now(),
  monotonicMs: () => stoppedMs ?? performance.now(),
}

const directory = mkdtempSync(join(tmpdir(), 'tg-silent-'))
let redis: RedisServer
let prompts: PromptReader
beforeAll(async () => {
  redis = await startRedis()
  prompts = createInlineReader({ encodings: ['cl100k_base'], timeoutMs: 60_000, clock })
})
afterAll(async () => {
  await redis.stop()
  rmSync(directory, { recursive: true })
})

let ledger: GuardedLedger<Admission> | undefined
afterEach(async () => {
  vi.useRealTimers()
  stoppedMs = undefined
  redis.resume()
  await ledger?.close()
})

function configOf(quota: string) {
  const file = join(directory, 'policy.yaml')
  writeFileSync(
    file,
    `
listen: { grpc: '127.0.0.1:0' }
ledger: { kind: redis, url: 'redis://127.0.0.1:${String(redis.port)}' }
issuers:
  - { issuer: 'https://idp.example', audiences: [llm], algorithms: [ES256], tenant: { fixed: acme } }
models: [{ name: llama, tokenizer: cl100k_base, contextTokens: 8192, pool: gpu-a }]
grants: [{ tenants: [acme], models: [llama] }]
quotas:
  - { name: day, unit: tokens, limit: 1000000, window: 1d, by: [tenant], ${quota} }
`,
  )
  return readConfig(file)
}

test.each([
  ['onStoreFailure: deny', { reason: 'quota_store_unavailable' }],
  // A Redis that has just begun gives no share.
  ['onStoreFailure: local', { reason: 'quota_store_unavailable' }],
  ['onStoreFailure: allow', { kind: 'allow', balances: [] }],
  ['onStoreFailure: deny, slices: true', { reason: 'quota_store_unavailable' }],
])(
  'is answered when the ledger is due, and waits for nothing after that: a quota with %s',
  async (quota, verdict) => {
    const { policy, settings } = configOf(quota)
    const parts = { clock, random: Math.random, processId: 'one', heapBytes: 1e9 }
    const opened = createLedger<Admission>(settings.ledger, parts)
    ledger = opened
    let streams = 0
    const check = (): Promise<Decision> => {
      const streamId = `${quota} ${String((streams += 1))}`
      return authorize(
        postOf(
          { model: 'llama', max_tokens: 10, messages: [{ role: 'user', content: 'Hello' }] },
          { streamId },
        ),
        {
          snapshot: () => ({
            policy,
            authenticator: asAlice,
          }),
          prompts,
          ledger: opened,
          clock,
          randomId: () => `id of ${streamId}`,
        },
      )
    }
    await vi.waitFor(
      async () => {
        await opened.expire(Date.now())
        const { verdict: first } = await check()
        expect(first).toMatchObject({ kind: 'allow', balances: [{}] })
      },
      { timeout: 20_000, interval: 10 },
    )

    redis.pause()
    // Whole, so that its sums are exact.
    stoppedMs = Math.ceil(performance.now())
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    const pass = async (ms: number): Promise<void> => {
      stoppedMs = (stoppedMs ?? 0) + ms
      vi.advanceTimersByTime(ms)
      for (let turns = 0; turns < 100; turns += 1) await nextTurn()
    }
    let decision: Decision | undefined
    void check().then((made) => (decision = made))
    await pass(0)
    expect(vi.getTimerCount()).toBeGreaterThan(0)
    await pass(DUE_MS - 1)
    expect(decision).toBeUndefined()
    await pass(1)
    expect(decision?.verdict).toMatchObject(verdict)
  },
)
