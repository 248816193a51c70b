import { readFile } from 'node:fs/promises'
import OpenAI from 'openai'
import { afterAll, expect, test } from 'vitest'
import { startRedis } from '../redis-server.js'
import type { RedisServer } from '../redis-server.js'
import { patient } from './durations.js'
import { chat, eventually, startTestStack } from './stack.js'
import type { Answer } from './stack.js'

// A Redis that is killed under load, behind the real Envoy, and one that comes in its place.

const LIMIT = 80
/** As the policy says: this one's share is a quarter. */
const PROCESSES = 4

let redis: RedisServer = await startRedis()
const { port } = redis
const stack = await startTestStack((policy) => {
  policy['ledger'] = {
    kind: 'redis',
    url: `redis://127.0.0.1:${String(port)}`,
    timeoutMs: 5000,
    processes: PROCESSES,
  }
  // Written out each time: the policy file takes no alias.
  const day = () => ({ window: '24h', by: ['tenant'] })
  policy.quotas = [
    { name: 'tokens', unit: 'tokens', limit: 1e9, ...day(), onStoreFailure: 'local' },
    {
      name: 'requests',
      unit: 'requests',
      limit: LIMIT,
      ...day(),
      models: ['llama-3.3-70b'],
      onStoreFailure: 'local',
    },
    { name: 'strict', unit: 'requests', limit: 1e6, ...day(), models: ['qwen-2.5-7b'] },
  ]
}, patient)
afterAll(() => redis.stop())

interface DecisionLine {
  readonly type: string
  readonly decision: string
  readonly localQuotas: readonly string[]
}

/** The allows whose record says that a share held them. */
async function heldLocally(): Promise<readonly DecisionLine[]> {
  const lines = (await readFile(stack.tollgate.auditFile, 'utf8')).trim().split('\n')
  const decisions = lines
    .map((line) => JSON.parse(line) as DecisionLine)
    .filter(({ type }) => type === 'decision')
  return decisions.filter(
    ({ decision, localQuotas }) => decision === 'allow' && localQuotas.length > 0,
  )
}

async function metric(name: string): Promise<number> {
  const text = await (await fetch(`${stack.tollgate.metricsUrl}/metrics`)).text()
  const line = text.split('\n').find((candidate) => candidate.startsWith(`${name} `))
  return Number(line?.split(' ').at(-1))
}

const codeOf = ({ text }: Answer): string =>
  (JSON.parse(text) as { error: { code: string } }).error.code
const ask = (model = 'llama') =>
  stack.send({ caller: 'alice', body: chat({ model, max_tokens: 20 }) })

test('a killed Redis: what says local goes on to its share and no further, each of it is settled', async () => {
  await eventually(async () => {
    expect(await metric('tollgate_ledger_processes')).toBe(1)
  })
  const answers: Answer[] = []
  let loads = true
  const load = async (): Promise<void> => {
    while (loads) answers.push(await ask())
  }
  const loaded = Promise.all(Array.from({ length: 4 }, load))
  await eventually(() => {
    expect(answers.length).toBeGreaterThan(3)
  })
  await redis.stop()
  const before = answers.length
  await eventually(() => {
    expect(answers.filter(({ status }) => status === 503).length).toBeGreaterThan(20)
  })
  loads = false
  await loaded

  expect(before).toBeLessThan(LIMIT)
  const local = await heldLocally()
  expect(local).toHaveLength(LIMIT / PROCESSES)
  for (const { localQuotas } of local) expect(localQuotas).toEqual(['tokens', 'requests'])
  const refused = answers.filter(({ status }) => status !== 200)
  for (const answer of refused) {
    expect([answer.status, codeOf(answer)]).toEqual([503, 'quota_store_unavailable'])
    expect(answer.headers.get('retry-after')).toBe('2')
  }
  const allowed = answers.filter(({ status }) => status === 200)
  for (const answer of allowed.slice(-5)) {
    expect(await stack.endOf(answer)).toMatchObject({ outcome: 'settled' })
  }
})

test('what says deny is a 503 in both dialects, also while another quota would let pass', async () => {
  const answer = await ask('qwen')
  expect(answer.status).toBe(503)
  expect(answer.headers.get('retry-after')).toBe('2')
  expect(JSON.parse(answer.text)).toMatchObject({
    error: { type: 'server_error', code: 'quota_store_unavailable' },
  })
  const messages = [{ role: 'user', content: 'Hello.' }]
  const body = { model: 'qwen', max_tokens: 20, messages }
  const other = await stack.send({ caller: 'alice', path: '/v1/messages', body })
  expect(other.status).toBe(503)
  expect(JSON.parse(other.text)).toMatchObject({
    type: 'error',
    error: { type: 'api_error', code: 'quota_store_unavailable' },
  })
})

test("OpenAI's client comes back by itself, and then says what it was", async () => {
  const name = 'tollgate_quota_fallbacks_total{why="store",answer="refused"}'
  const before = await metric(name)
  const client = new OpenAI({
    apiKey: stack.credentialOf('alice'),
    baseURL: `${stack.envoy.url}/v1`,
    maxRetries: 1,
  })
  const asked = client.chat.completions.create({
    model: 'qwen',
    messages: [{ role: 'user', content: 'Hello.' }],
    max_tokens: 20,
  })
  await expect(asked).rejects.toMatchObject({ status: 503, code: 'quota_store_unavailable' })
  await expect(asked).rejects.toBeInstanceOf(OpenAI.InternalServerError)
  expect((await metric(name)) - before).toBe(2)
})

test('a Redis that comes in its place counts again, for every quota', async () => {
  redis = await startRedis('--port', String(port))
  await eventually(async () => {
    expect((await ask('qwen')).status).toBe(200)
  })
  const held = (await heldLocally()).length
  const answer = await ask()
  expect(answer.status).toBe(200)
  expect(await stack.endOf(answer)).toMatchObject({ outcome: 'settled' })
  expect(await stack.usage('alice', 'requests')).toMatchObject({ spent: 1, limit: LIMIT })
  expect(await heldLocally()).toHaveLength(held)
})
