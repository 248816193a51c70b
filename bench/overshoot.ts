// `make bench ARGS=overshoot`: how many of 64 parallel requests pass a limit that fits 8, with Tollgate, and with
// envoyproxy/ratelimit behind the same Envoy, in front of the same stand-in, on the same Redis. The stand-in holds
// every answer until all 64 are decided.
import { Redis } from 'ioredis'
import { parse, stringify } from 'yaml'
import { startStack } from '../deploy/demo/stack.js'
import type { Stack } from '../deploy/demo/stack.js'
import { usedToday } from '../deploy/demo/sharing.js'
import { readSharedDemoPolicy } from '../deploy/demo/tollgate.js'
import { patient } from '../test/end-to-end/durations.js'
import { freePorts, freeSecondPorts } from '../test/end-to-end/free-ports.js'
import { print } from './measure.js'
import { peerDescriptor, peerDomain, startPeerEnvoy } from './peer-envoy.js'
import { startPeer } from './peer.js'

const PARALLEL = 64
const LIMIT_TOKENS = 8500
/** What the stand-in generates for each; with its input a request uses some 970, so 8 fit and 9 do not. */
const OUTPUT_TOKENS = 950

const PATIENCE_MS = 60_000

const rules = `
domain: ${peerDomain}
descriptors:
  - key: ${peerDescriptor.key}
    rate_limit: { unit: day, requests_per_unit: ${String(LIMIT_TOKENS)} }
`

/** The demo's policy with this one limit, and room for the rest. */
async function policy(): Promise<string> {
  const document = parse(await readSharedDemoPolicy()) as Record<string, unknown>
  document['quotas'] = [
    { name: 'tenant-day', unit: 'tokens', limit: LIMIT_TOKENS, window: '24h', by: ['tenant'] },
  ]
  const ledger = document['ledger'] as object
  document['ledger'] = { ...ledger, timeoutMs: 5000 }
  return stringify(document)
}

async function until(isSo: () => Promise<boolean> | boolean, what: string): Promise<void> {
  const deadlineMs = performance.now() + PATIENCE_MS
  while (!(await isSo())) {
    if (performance.now() > deadlineMs) throw new Error(`${what} did not happen`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

function ask(url: string, credential: string): Promise<Response> {
  return fetch(`${url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${credential}` },
    body: JSON.stringify({
      model: 'llama',
      max_tokens: OUTPUT_TOKENS,
      messages: [{ role: 'user', content: 'How far is it to the next gate?' }],
    }),
  })
}

/** Sends all at once; how many passed, and what the stand-in says they used. */
async function burst(
  { nodeA, identityProvider }: Stack,
  url: string,
): Promise<{ readonly passed: number; readonly refused: number; readonly usedTokens: number }> {
  const credential = await identityProvider.issue('alice')
  const before = nodeA.served.length
  const refused: number[] = []
  nodeA.behave({ hold: true, outputTokens: OUTPUT_TOKENS })
  const answers = Array.from({ length: PARALLEL }, async () => {
    const response = await ask(url, credential)
    if (response.status !== 200) refused.push(response.status)
    await response.arrayBuffer()
  })
  const decided = (): number => nodeA.served.length - before + refused.length
  await until(() => decided() === PARALLEL, 'a decision of all')
  if (refused.some((status) => status !== 429)) {
    throw new Error(`refused with ${[...new Set(refused)].join()}`)
  }
  const served = nodeA.served.slice(before)
  nodeA.release()
  await Promise.all(answers)
  const usedTokens = served.reduce(
    (sum, { generation }) => sum + generation.inputTokens + generation.outputTokens,
    0,
  )
  return { passed: served.length, refused: refused.length, usedTokens }
}

function told(name: string, { passed, refused, usedTokens }: Awaited<ReturnType<typeof burst>>) {
  const times = (usedTokens / LIMIT_TOKENS).toFixed(2)
  print(
    `  ${name}: ${String(passed)} pass, ${String(refused)} are refused; used ${String(usedTokens)} of ${String(LIMIT_TOKENS)} tokens (${times} x)`,
  )
}

const stack = await startStack({
  ports: await freePorts(),
  secondPorts: await freeSecondPorts(),
  policy: await policy(),
  random: Math.random,
  changeEnvoy: patient,
})
const stops: (() => Promise<void>)[] = [() => stack.stop()]
try {
  const { redis, tollgate } = stack
  if (redis === undefined) throw new Error('no Redis')
  const client = new Redis({ path: redis.socket })
  stops.push(async () => {
    client.disconnect()
  })
  const peer = await startPeer(stack.directory, redis.socket, rules)
  stops.push(() => peer.stop())
  const envoy = await startPeerEnvoy(stack, peer.socket)
  stops.push(() => envoy.child.stop())

  print(
    `${String(PARALLEL)} requests at once, a limit of ${String(LIMIT_TOKENS)} tokens a day, no answer before all are decided:`,
  )
  const own = await burst(stack, stack.envoy.url)
  await until(
    async () => (await usedToday(tollgate, 'alice')) === own.usedTokens,
    'the settlement of all',
  )
  told('Tollgate, two processes', own)

  const other = await burst(stack, envoy.url)
  // It counts when the streams are done.
  await until(async () => {
    const keys = await client.keys(`${peerDomain}_*`)
    const counts = await Promise.all(keys.map((key) => client.get(key)))
    return counts.reduce((sum, count) => sum + Number(count), 0) === other.usedTokens
  }, "the peer's count")
  told('envoyproxy/ratelimit, counting when the stream is done', other)
  const next = await ask(envoy.url, await stack.identityProvider.issue('alice'))
  print(`  and the next, once it has counted: ${String(next.status)}`)
  // A figure that this project promises, and not only measures.
  if (own.passed !== Math.floor(LIMIT_TOKENS / OUTPUT_TOKENS)) process.exitCode = 1
} finally {
  for (const stop of stops.reverse()) await stop()
}
