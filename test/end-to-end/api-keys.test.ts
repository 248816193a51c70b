import { readFile, writeFile } from 'node:fs/promises'
import OpenAI from 'openai'
import { expect, test } from 'vitest'
import { parse, stringify } from 'yaml'
import { apiKeyHash, apiKeyOf } from '../../src/identity/api-keys.js'
import { chat, eventually, lastServed, startTestStack } from './stack.js'
import type { Answer } from './stack.js'

const [nightly, weekly, stranger, next] = [1, 2, 3, 4].map((byte) =>
  apiKeyOf(new Uint8Array(32).fill(byte)),
) as [string, string, string, string]
const entryOf = (id: string, key: string) => {
  const who = { tenant: 'acme', subject: `svc-${id}`, client: 'cron', groups: ['research'] }
  return { id: `key-${id}`, sha256: apiKeyHash(key), ...who }
}

const stack = await startTestStack((policy) => {
  policy['apiKeys'] = [entryOf('nightly', nightly), entryOf('weekly', weekly)]
  policy.quotas.push({
    name: 'key-hour',
    unit: 'requests',
    limit: 3,
    window: '1h',
    by: ['tenant', 'api_key'],
    models: ['qwen-2.5-7b'],
  })
})
const { nodeA } = stack

const bearer = (key: string) => ({ authorization: `Bearer ${key}` })
const small = chat({ model: 'qwen', max_tokens: 20 })

async function recordsOf(answer: Answer): Promise<readonly Record<string, unknown>[]> {
  const auditId = answer.headers.get('x-tollgate-audit-id') ?? 'none'
  const lines = (await readFile(stack.tollgate.auditFile, 'utf8')).trimEnd().split('\n')
  return lines
    .map((line) => JSON.parse(line) as Record<string, unknown>)
    .filter((record) => record['auditId'] === auditId)
}

test('a chat with an API key reaches its node as the caller of the entry, and settles', async () => {
  const answer = await stack.send({ headers: bearer(nightly), body: chat() })
  expect(answer.status).toBe(200)
  const served = lastServed(nodeA)
  expect(served.headers).toMatchObject({
    'x-tollgate-tenant': 'acme',
    'x-tollgate-subject': 'svc-nightly',
    'x-tollgate-client': 'cron',
  })
  expect(JSON.stringify(served)).not.toContain('tgk_')
  expect(await stack.endOf(answer)).toMatchObject({
    outcome: 'settled',
    outputTokens: served.generation.outputTokens,
  })
  expect(await recordsOf(answer)).toMatchObject([
    { type: 'decision', decision: 'allow', issuer: null, apiKey: 'key-nightly' },
    { type: 'end', apiKey: 'key-nightly' },
  ])
})

test('a message with an API key in x-api-key does, too', async () => {
  const headers = { 'x-api-key': weekly }
  const answer = await stack.send({ path: '/v1/messages', headers, body: chat() })
  expect(answer.status).toBe(200)
  expect(lastServed(nodeA).headers).toMatchObject({ 'x-tollgate-subject': 'svc-weekly' })
  expect(lastServed(nodeA).headers).not.toHaveProperty('x-api-key')
})

test("OpenAI's client takes it for its own kind of key", async () => {
  const baseURL = `${stack.envoy.url}/v1`
  const client = new OpenAI({ apiKey: nightly, baseURL, maxRetries: 0 })
  const models = await client.models.list()
  expect(models.data.map(({ id }) => id)).toContain('llama-3.3-70b')
  const refused = new OpenAI({ apiKey: stranger, baseURL, maxRetries: 0 }).models.list()
  await expect(refused).rejects.toBeInstanceOf(OpenAI.AuthenticationError)
})

test.each([
  ['an unknown key', stranger, 'credential_invalid'],
  ['a key cut short', nightly.slice(0, -1), 'credential_malformed'],
])('%s is a 401 in the dialect of its path, and reaches no node', async (_, key, code) => {
  const before = nodeA.served.length
  const openai = await stack.send({ headers: bearer(key), body: chat() })
  const anthropic = await stack.send({
    path: '/v1/messages',
    headers: { 'x-api-key': key },
    body: chat(),
  })
  for (const answer of [openai, anthropic]) {
    expect(answer.status).toBe(401)
    expect(answer.headers.get('www-authenticate')).toMatch(
      /^Bearer realm="tollgate", error="invali/,
    )
    expect(answer.text).not.toContain(key)
    expect(await recordsOf(answer)).toMatchObject([
      { decision: 'deny', reason: code, apiKey: null },
    ])
  }
  expect(JSON.parse(openai.text)).toMatchObject({ error: { code } })
  expect(JSON.parse(anthropic.text)).toMatchObject({ type: 'error', error: { code } })
  expect(nodeA.served.length).toBe(before)
})

test('a quota by api_key limits each key, and a caller without one apart from them', async () => {
  const statuses = async (headers: Readonly<Record<string, string>>, count: number) => {
    const answers: Answer[] = []
    for (let sent = 0; sent < count; sent += 1) {
      answers.push(await stack.send({ headers, body: small }))
    }
    return answers
  }
  const own = await statuses(bearer(nightly), 4)
  expect(own.map(({ status }) => status)).toEqual([200, 200, 200, 429])
  const { error } = JSON.parse(own[3]?.text ?? '') as { error: { code: string; message: string } }
  expect(error.code).toBe('quota_exhausted')
  expect(error.message).toContain('key-hour 0 of 3 requests')
  expect((await statuses(bearer(weekly), 1))[0]?.status).toBe(200)
  const alice = bearer(stack.credentialOf('alice'))
  expect((await statuses(alice, 1))[0]?.status).toBe(200)

  const spentBy = async (query: string): Promise<unknown> => {
    const response = await fetch(`${stack.tollgate.adminUrl}/usage?tenant=acme${query}`)
    const { quotas } = (await response.json()) as {
      quotas: { quota: string; spent: number; reserved: number }[]
    }
    const row = quotas.find(({ quota }) => quota === 'key-hour')
    return row && row.spent + row.reserved
  }
  expect(await spentBy('&api_key=key-nightly')).toBe(3)
  expect(await spentBy('&api_key=key-weekly')).toBe(1)
  expect(await spentBy('')).toBe(1)
})

test('a key comes and goes with the policy', async () => {
  const policy = parse(await readFile(stack.tollgate.policyFile, 'utf8')) as object
  const apiKeys = [entryOf('weekly', weekly), entryOf('next', next)]
  const statusOf = async (key: string): Promise<number> =>
    (await stack.send({ headers: bearer(key), body: chat() })).status
  expect(await statusOf(next)).toBe(401)
  await writeFile(stack.tollgate.policyFile, stringify({ ...policy, apiKeys }))
  await eventually(async () => {
    expect(await statusOf(next)).toBe(200)
  })
  expect(await statusOf(nightly)).toBe(401)
  expect(await statusOf(weekly)).toBe(200)
})

test('no key, no hash and no random part of one is in a log, a metric or a record', async () => {
  // One whose line Envoy has written, so that those before it are there, too.
  await stack.accessLogOf(await stack.send({ headers: bearer(stranger), body: chat() }))
  const { tollgate, envoy } = stack
  const files = [tollgate.child.logFile, tollgate.auditFile, envoy.accessLogFile]
  const urls = [`${stack.tollgate.metricsUrl}/metrics`, `${stack.envoy.adminUrl}/stats`]
  const texts = await Promise.all([
    ...files.map((file) => readFile(file, 'utf8')),
    ...urls.map(async (url) => (await fetch(url)).text()),
  ])
  for (const text of texts) {
    expect(text).not.toBe('')
    expect(text).not.toContain('tgk_')
    for (const key of [nightly, weekly, stranger, next]) {
      expect(text).not.toContain(key.slice(4, 24))
      expect(text).not.toContain(apiKeyHash(key))
    }
  }
  expect(texts[1]).toContain('key-nightly')
  for (const text of [texts[0], ...texts.slice(2)]) expect(text).not.toContain('key-nightly')
})
