// Run by `run.ts`: CPU microseconds of a request that is refused since a quota is used up, beside those of one that is
// allowed, from Check to ledger and without the wire. `uncounted`: its wait is the same whatever it holds; `counted`: not.
import { authorize } from '../src/authorize.js'
import type { AuthorizeParts } from '../src/authorize.js'
import type { Admission } from '../src/admission.js'
import { holdsFor } from '../src/holds.js'
import { createInlineReader } from '../src/prompt/inline.js'
import { createMemoryLedger } from '../src/quota/memory/memory-ledger.js'
import type { Quota } from '../src/quota/quota.js'
import type { IncomingRequest } from '../src/request.js'
import { createTurns } from '../src/turns.js'
import { examplePolicy } from '../test/example-policy.js'
import { prompt } from './load.js'

const KIB = 1024
const CALLS = 300
/** The first of them warm up. */
const ROUNDS = 11
const WARM = 2
/** The middle of a minute and of a day, by a clock that stands still. */
const NOW_MS = Date.UTC(2026, 0, 1, 12, 0, 30)

const clock = { nowEpochMs: () => NOW_MS, monotonicMs: () => performance.now() }
const prompts = createInlineReader({ encodings: ['cl100k_base'], timeoutMs: 60_000, clock })
const caller = {
  ...{ issuer: 'https://idp.bench.example', subject: 'alice', tenant: 'acme', client: 'app' },
  ...{ groups: ['research'], scopes: [], expiresAtEpochMs: 0 },
}
const authenticator: ReturnType<AuthorizeParts['snapshot']>['authenticator'] = {
  authenticate: async () => caller,
  ready: () => true,
  prefetch: async () => undefined,
}

const LIMIT = 20_000
const base = {
  unit: 'tokens',
  by: ['tenant', 'subject'],
  groups: [],
  models: [],
  shadow: false,
} as const
const minute: Quota = {
  ...base,
  name: 'minute',
  limit: LIMIT,
  window: { kind: 'sliding', lengthMs: 60_000 },
}
const day: Quota = {
  ...base,
  name: 'day',
  limit: 1e12,
  window: { kind: 'calendar', period: 'day', timeZone: 'UTC' },
}

/** The quotas, of which the first is used up where anything is refused. */
const kinds: Readonly<Record<string, readonly Quota[]>> = {
  allowed: [{ ...minute, limit: 1e12 }, day],
  uncounted: [
    { ...day, limit: LIMIT },
    { ...minute, limit: 1e12 },
  ],
  counted: [minute, day],
}

let ids = 0
const randomId = (): string => `bench-${String((ids += 1))}`

async function partsFor(quotas: readonly Quota[]): Promise<AuthorizeParts> {
  const policy = examplePolicy({ quotas })
  const ledger = createMemoryLedger<Admission>()
  const [model] = policy.models
  const [first] = quotas
  if (model === undefined || first === undefined) throw new Error('the example has a model')
  const none = { inputTokens: 0, outputTokens: 0 }
  const holds = holdsFor(policy, caller, model, none, { path: '/v1/chat/completions', peer: '' })
  // In many cells, so that how long it takes to fit goes with the amount.
  const STEPS = 50
  for (let step = STEPS; first.limit === LIMIT && step > 0; step -= 1) {
    const spent = holds.slice(0, 1).map((hold) => ({ ...hold, amount: LIMIT / STEPS }))
    const request = { id: randomId(), idempotencyKey: randomId(), holds: spent, leaseMs: 1e9 }
    await ledger.reserve({ ...request, context: {} as Admission }, NOW_MS - step * 1000)
  }
  return { snapshot: () => ({ policy, authenticator }), prompts, ledger, clock, randomId }
}

function requestOf(bytes: number): IncomingRequest {
  return {
    ...{ streamId: '', startedAt: '', requestId: undefined, peer: '', context: {} },
    ...{ method: 'POST', path: '/v1/chat/completions' },
    headers: new Map([
      ['authorization', ['Bearer good']],
      ['content-type', ['application/json']],
    ]),
    body: Buffer.from(
      JSON.stringify({
        ...{ model: 'llama-70b', max_tokens: 200 },
        messages: [{ role: 'user', content: prompt(bytes) }],
      }),
    ),
    signal: new AbortController().signal,
  }
}

async function microsOf(kind: string, quotas: readonly Quota[], bytes: number): Promise<number> {
  const parts = await partsFor(quotas)
  const turns = createTurns(parts)
  const requests = Array.from({ length: CALLS }, () => requestOf(bytes))
  const before = process.cpuUsage()
  let allowed = 0
  for (const request of requests) {
    const { verdict } = await authorize(request, parts, await turns.mine(request.signal))
    if (verdict.kind === 'allow') allowed += 1
  }
  const { user, system } = process.cpuUsage(before)
  if (allowed !== (kind === 'allowed' ? CALLS : 0)) throw new Error(`${kind}: ${String(allowed)}`)
  return (user + system) / CALLS
}

const rows: { kibBytes: number; of: string; micros: readonly number[] }[] = []
for (const kibBytes of [1, 16]) {
  const micros: Record<string, number[]> = {}
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const [kind, quotas] of Object.entries(kinds)) {
      const measured = await microsOf(kind, quotas, kibBytes * KIB)
      if (round >= WARM) (micros[kind] ??= []).push(measured)
    }
  }
  for (const [of, all] of Object.entries(micros)) rows.push({ kibBytes, of, micros: all })
}
process.stdout.write(JSON.stringify(rows))
