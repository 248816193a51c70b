import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { stringify } from 'yaml'
import { startTollgate } from '../../deploy/demo/tollgate.js'
import { startRedis } from '../redis-server.js'
import { patient } from './durations.js'
import { freePorts } from './free-ports.js'
import { chat, eventually, startTestStack } from './stack.js'
import type { Answer } from './stack.js'

// Two Tollgates on one Redis behind the real Envoy, which asks now one, now the other.

const DAY_LIMIT_TOKENS = 8500

const redis = await startRedis()
const directory = await mkdtemp(join(tmpdir(), 'tollgate-second-'))
const socket = join(directory, 'tollgate.sock')
let policyText = ''

/** Adds the second Tollgate to the cluster that Envoy asks. */
function withSecond(config: string): string {
  const parsed = JSON.parse(config) as {
    static_resources: {
      clusters: { name: string; load_assignment: { endpoints: { lb_endpoints: object[] }[] } }[]
    }
  }
  const cluster = parsed.static_resources.clusters.find(({ name }) => name === 'tollgate')
  const endpoint = { endpoint: { address: { pipe: { path: socket } } } }
  cluster?.load_assignment.endpoints[0]?.lb_endpoints.push(endpoint)
  return JSON.stringify(parsed)
}

// A request reserves its 950 tokens of output and some 50 of input: eight fit into the day, nine do not.
const stack = await startTestStack(
  (policy) => {
    policy['ledger'] = { kind: 'redis', url: redis.address.url, timeoutMs: 5000 }
    policy.quotas = [
      {
        name: 'tenant-day',
        unit: 'tokens',
        limit: DAY_LIMIT_TOKENS,
        window: '24h',
        by: ['tenant'],
      },
      { name: 'user-parallel', unit: 'in_flight', limit: 1000, by: ['tenant', 'subject'] },
    ]
    policyText = stringify(policy)
  },
  (config) => withSecond(patient(config)),
)
const { nodeA } = stack
const ports = await freePorts()
const second = await startTollgate(
  directory,
  {
    socket,
    metricsPort: ports.tollgateMetrics,
    adminPort: ports.tollgateAdmin,
    issuer: stack.identityProvider.issuer,
  },
  policyText,
)
afterAll(async () => {
  await second.child.stop()
  await redis.stop()
  await rm(directory, { recursive: true, force: true })
})

async function decisionsOf(metricsUrl: string): Promise<number> {
  const text = await (await fetch(`${metricsUrl}/metrics`)).text()
  const counts = text.split('\n').filter((line) => line.startsWith('tollgate_decisions_total{'))
  return counts.reduce((sum, line) => sum + Number(line.split(' ')[1]), 0)
}

test('64 parallel requests over two processes against a quota that fits 8: exactly 8 pass, and are settled', async () => {
  nodeA.behave({ hold: true })
  const refused: Answer[] = []
  const sent = Promise.all(
    Array.from({ length: 64 }, async () => {
      const answer = await stack.send({ caller: 'alice', body: chat({ max_tokens: 950 }) })
      if (answer.status !== 200) refused.push(answer)
      return answer
    }),
  )
  // No answer is given before all 64 are decided.
  await eventually(() => {
    expect(nodeA.served.length + refused.length).toBe(64)
  })
  expect(nodeA.served).toHaveLength(8)
  expect(refused.map(({ status }) => status)).toEqual(Array.from({ length: 56 }, () => 429))
  for (const { metricsUrl } of [stack.tollgate, second]) {
    expect(await decisionsOf(metricsUrl)).toBeGreaterThan(0)
  }
  expect(
    (await decisionsOf(stack.tollgate.metricsUrl)) + (await decisionsOf(second.metricsUrl)),
  ).toBe(64)

  nodeA.release()
  await sent
  const used = nodeA.served.reduce(
    (sum, { generation }) => sum + generation.inputTokens + generation.outputTokens,
    0,
  )
  // A report comes to one process or the other, whichever admitted its request.
  expect(await stack.settledUsage('alice', 'tenant-day')).toMatchObject({ spent: used, debt: 0 })
})
