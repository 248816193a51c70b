import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import type { Admission } from '../src/admission.js'
import { systemClock } from '../src/clock.js'
import type { Decision } from '../src/decision.js'
import { denialStatus, isDenial } from '../src/denial.js'
import { createInlineReader } from '../src/prompt/inline.js'
import type { PromptReader } from '../src/prompt/prompt.js'
import { createFailoverLedger } from '../src/quota/failover/failover-ledger.js'
import type { GuardedLedger } from '../src/quota/failover/guarded-ledger.js'
import { createMemoryLedger } from '../src/quota/memory/memory-ledger.js'
import type { Processes } from '../src/quota/failover/processes.js'
import type { OnStoreFailure, Quota } from '../src/quota/quota.js'
import { createRedisLedger } from '../src/quota/redis/redis-ledger.js'
import { openStore } from '../src/store/store.js'
import type { StoreAddress } from '../src/store/store.js'
import { authorize } from './authorize-alone.js'
import { asAlice, examplePolicy } from './example-policy.js'
import { postOf } from './example-request.js'
import { startFaultProxy } from './fault-proxy.js'
import type { FaultProxy } from './fault-proxy.js'
import { addressOf, startRedis } from './redis-server.js'
import type { RedisServer } from './redis-server.js'

// Every way in which Redis fails, through the whole story of Check: each is answered as the quota says, none with a plain
// allow, none with a 429, and nothing of it is held when Redis is back.

/** Where a script that writes is refused. */
const directory = mkdtempSync(join(tmpdir(), 'tg-faults-'))
const passwordFile = join(directory, 'password')

let redis: RedisServer
let proxy: FaultProxy
let prompts: PromptReader
beforeAll(async () => {
  redis = await startRedis(
    '--enable-debug-command',
    'yes',
    '--loading-process-events-interval-bytes',
    '1024',
  )
  proxy = await startFaultProxy(redis.port)
  prompts = createInlineReader({
    encodings: ['cl100k_base'],
    timeoutMs: 60_000,
    clock: systemClock,
  })
  writeFileSync(passwordFile, 'word')
  await redis.client.call('ACL', 'SETUSER', 'tollgate', 'on', '>word', 'allkeys', 'allcommands')
})
afterAll(async () => {
  await proxy.stop()
  await redis.stop()
  rmSync(directory, { recursive: true })
})

const ledgers: GuardedLedger<Admission>[] = []
afterEach(async () => {
  for (const ledger of ledgers.splice(0)) await ledger.close()
})

const LIMIT = 40

function policyThat(onStoreFailure: OnStoreFailure) {
  const quota: Quota = {
    name: `that-says-${onStoreFailure}`,
    unit: 'requests',
    limit: LIMIT,
    window: { kind: 'calendar', period: 'month', timeZone: 'UTC' },
    by: ['tenant'],
    groups: [],
    models: [],
    shadow: false,
    onStoreFailure,
  }
  return examplePolicy({ quotas: [quota] })
}

/** As one of four, which has been there for long enough. */
async function openLedger(
  address: StoreAddress,
  timeoutMs: number,
): Promise<GuardedLedger<Admission>> {
  const store = openStore(address, { clock: systemClock, random: Math.random })
  const processes: Processes = {
    async census({ claims }) {
      const told = { atMs: 1, bornMs: 1, version: 1, table: undefined }
      return { ...told, processes: 4, claims: claims.map(() => 4) }
    },
  }
  const ledger = createFailoverLedger<Admission>({
    main: createRedisLedger({ store, clock: systemClock, timeoutMs }),
    local: {
      ...{ ledger: createMemoryLedger(), processes, atLeast: 1 },
      dueMonotonicMs: () => systemClock.monotonicMs() + timeoutMs,
    },
  })
  ledgers.push(ledger)
  for (let beats = 0; beats < 2; beats += 1) await ledger.expire(Date.now()).catch(() => undefined)
  return ledger
}

let streams = 0

async function ask(
  ledger: GuardedLedger<Admission>,
  onStoreFailure: OnStoreFailure,
): Promise<Decision> {
  const id = String((streams += 1))
  return authorize(
    postOf(
      {
        model: 'llama-70b',
        max_tokens: 10,
        messages: [{ role: 'user', content: 'Good morning.' }],
      },
      { streamId: id },
    ),
    {
      snapshot: () => ({ policy: policyThat(onStoreFailure), authenticator: asAlice }),
      prompts,
      ledger,
      clock: systemClock,
      randomId: () => `id-${id}-${String(Math.random()).slice(2)}`,
    },
  )
}

function eventually<T>(attempt: () => Promise<T>): Promise<T> {
  return vi.waitFor(attempt, { timeout: 20_000, interval: 20 })
}

/** Counted by Redis again, and nothing more is held there than that. */
async function expectBack(ledger: GuardedLedger<Admission>, held: number): Promise<void> {
  await eventually(async () => {
    await ledger.expire(Date.now())
    const decision = await ask(ledger, 'deny')
    expect(decision.verdict).toMatchObject({ kind: 'allow', balances: [{ reserved: held + 1 }] })
    if (isDenial(decision.verdict) || decision.verdict.reservation === undefined) return
    await ledger.abandon(decision.verdict.reservation.id, Date.now())
  })
}

interface Fault {
  /** What the operator is told. */
  readonly said: RegExp
  /** Of what is not answered; else so long that a busy machine is none. */
  readonly timeoutMs?: number
  readonly address?: () => StoreAddress
  readonly fail: () => unknown
  readonly mend: () => unknown
}

const call = (...words: readonly [string, ...string[]]) => redis.client.call(...words)
const config = (key: string, value: string) => call('CONFIG', 'SET', key, value)
const throughProxy = (): StoreAddress => addressOf(`redis://127.0.0.1:${String(proxy.port)}`)

const faults: Record<string, Fault> = {
  'does not answer': {
    said: /did not answer in time/,
    timeoutMs: 100,
    fail: () => {
      redis.pause()
    },
    mend: () => {
      redis.resume()
    },
  },
  'is behind a connection that is open on this side only': {
    said: /did not answer/,
    timeoutMs: 100,
    address: throughProxy,
    fail: () => {
      proxy.swallow(true)
    },
    mend: () => {
      proxy.swallow(false)
    },
  },
  'executes, and its answers are lost': {
    said: /did not answer/,
    timeoutMs: 100,
    address: throughProxy,
    fail: () => {
      proxy.dropAnswers(true)
    },
    mend: () => {
      proxy.dropAnswers(false)
      proxy.cut()
    },
  },
  'is a replica': {
    // It is left at once, and asked for again.
    said: /READONLY|no connection/,
    fail: () => call('REPLICAOF', '127.0.0.1', '1'),
    mend: () => call('REPLICAOF', 'NO', 'ONE'),
  },
  'is loading': {
    said: /LOADING/,
    async fail() {
      for (let at = 0; at < 2000; at += 1)
        await redis.client.set(`filler ${String(at)}`, 'x'.repeat(1000))
      // Twenty seconds; `mend` ends it.
      await config('key-load-delay', '10000')
      const other = redis.client.duplicate()
      other.on('error', () => undefined)
      void other
        .call('DEBUG', 'RELOAD')
        .catch(() => undefined)
        .finally(() => {
          other.disconnect()
        })
      await eventually(async () => {
        await expect(call('GET', 'filler 1')).rejects.toThrow('LOADING')
      })
    },
    async mend() {
      await config('key-load-delay', '0')
      await eventually(() => redis.client.del('filler 1'))
    },
  },
  'is full': {
    said: /OOM/,
    fail: () => config('maxmemory', '1'),
    mend: () => config('maxmemory', '0'),
  },
  'cannot save': {
    said: /MISCONF/,
    async fail() {
      redis.loseDirectory()
      await config('save', '3600 1')
      await call('BGSAVE')
      await eventually(async () => {
        expect(await call('INFO', 'persistence')).toContain('rdb_last_bgsave_status:err')
      })
    },
    mend: () => config('save', ''),
  },
  'has too few replicas': {
    said: /NOREPLICAS/,
    fail: () => config('min-replicas-to-write', '1'),
    mend: () => config('min-replicas-to-write', '0'),
  },
  'is busy with a script': {
    said: /BUSY/,
    async fail() {
      await config('busy-reply-threshold', '1')
      const other = redis.client.duplicate()
      void other
        .eval('while true do end', 0)
        .catch(() => undefined)
        .finally(() => {
          other.disconnect()
        })
      await eventually(async () => {
        await expect(call('GET', 'x')).rejects.toThrow('BUSY')
      })
    },
    mend: () => call('SCRIPT', 'KILL'),
  },
  'has forgotten the scripts and takes none': {
    said: /NOPERM/,
    address: () => ({ ...redis.address, user: 'tollgate', passwordFile }),
    async fail() {
      await call('ACL', 'SETUSER', 'tollgate', '-eval')
      await call('SCRIPT', 'FLUSH')
    },
    mend: () => call('ACL', 'SETUSER', 'tollgate', '+eval'),
  },
}

describe.each(Object.entries(faults))(
  'a Redis that %s',
  (_, { said, timeoutMs = 5000, address, fail, mend }) => {
    test('is answered as the quota says, and counts again when it is back', async () => {
      await redis.client.flushall()
      const ledger = await openLedger(address?.() ?? redis.address, timeoutMs)
      await expectBack(ledger, 0)
      await fail()
      try {
        for (let tries = 0; tries < 2; tries += 1) {
          const denied = await ask(ledger, 'deny')
          expect(denied.verdict).toMatchObject({
            reason: 'quota_store_unavailable',
            retryAfterMs: 2000,
            quota: 'that-says-deny',
          })
          if (!isDenial(denied.verdict)) continue
          expect(denied.verdict.detail).toMatch(said)
          expect(denialStatus[denied.verdict.reason]).toBe(503)
        }
        // Its share is a quarter; from the fifth failure on Redis is not even asked.
        const local: Decision[] = []
        for (let tries = 0; tries < LIMIT / 4 + 3; tries += 1)
          local.push(await ask(ledger, 'local'))
        const passed = local.filter(({ verdict }) => verdict.kind === 'allow')
        expect(passed).toHaveLength(LIMIT / 4)
        for (const { fallback } of passed)
          expect(fallback?.localQuotas).toEqual(['that-says-local'])
        const { verdict } = local.at(-1) ?? { verdict: undefined }
        expect(verdict).toMatchObject({ reason: 'quota_store_unavailable', storeFailure: 'share' })

        const allowed = await ask(ledger, 'allow')
        expect(allowed.verdict).toMatchObject({ kind: 'allow', balances: [] })
        expect(allowed.fallback?.uncountedQuotas).toEqual(['that-says-allow'])
      } finally {
        await mend()
      }
      await expectBack(ledger, 0)
    })
  },
)
