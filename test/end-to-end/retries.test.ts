import { expect, test } from 'vitest'
import { chat, lastServed, startTestStack } from './stack.js'

interface Cluster {
  readonly name: string
  health_checks?: object
  readonly load_assignment: { readonly endpoints: { lb_endpoints: object[] }[] }
}

/** Beside the pool's node, one on a port where nothing listens, before health checks have found it out. */
function withDeadNode(config: string): string {
  const rendered = JSON.parse(config) as { static_resources: { clusters: Cluster[] } }
  const cluster = rendered.static_resources.clusters.find(({ name }) => name === 'gpu-a')
  if (cluster === undefined) throw new Error('envoy.yaml no longer has the cluster gpu-a')
  delete cluster.health_checks
  const socket_address = { address: '127.0.0.1', port_value: 1 }
  cluster.load_assignment.endpoints[0]?.lb_endpoints.push({
    endpoint: { address: { socket_address } },
  })
  return JSON.stringify(rendered)
}

const stack = await startTestStack(() => undefined, withDeadNode)
const { nodeA } = stack

test('a request whose connection is refused goes to the next node, and is charged once', async () => {
  const attempts: unknown[] = []
  // The nodes take turns, so within two requests one begins at the dead one.
  for (let sent = 0; sent < 4; sent++) {
    const answer = await stack.send({ caller: 'alice', body: chat() })
    expect(answer.status).toBe(200)
    const { inputTokens, outputTokens } = lastServed(nodeA).generation
    const end = { outcome: 'settled', inputTokens, outputTokens }
    expect(await stack.endOf(answer)).toMatchObject(end)
    attempts.push((await stack.accessLogOf(answer)).members['attempts'])
  }
  expect(new Set(attempts)).toContain(2)
  expect(nodeA.served).toHaveLength(4)
})

test('no client makes Envoy ask an engine again', async () => {
  const served = nodeA.served.length
  nodeA.behave({ refuseWithStatus: 500 })
  const answer = await stack.send({
    caller: 'alice',
    headers: { 'x-envoy-retry-on': '5xx', 'x-envoy-max-retries': '3' },
    body: chat(),
  })
  expect(answer.status).toBe(500)
  expect(nodeA.served).toHaveLength(served + 1)
})
