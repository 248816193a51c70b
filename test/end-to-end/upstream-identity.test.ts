import { expect, test } from 'vitest'
import { chat, startTestStack } from './stack.js'

interface EnvoyConfig {
  readonly static_resources: { readonly clusters: readonly Cluster[] }
}

interface Cluster {
  readonly name: string
  load_assignment: unknown
}

/** Leads each pool to the other pool's node, as a wrong name or a stolen address would. */
function crossed(config: string): string {
  const parsed = JSON.parse(config) as EnvoyConfig
  const clusterOf = (name: string): Cluster => {
    const found = parsed.static_resources.clusters.find((cluster) => cluster.name === name)
    if (found === undefined) throw new Error(`no cluster ${name}`)
    return found
  }
  const [a, b] = [clusterOf('gpu-a'), clusterOf('gpu-b')]
  const endpointsOfA = a.load_assignment
  a.load_assignment = b.load_assignment
  b.load_assignment = endpointsOfA
  return JSON.stringify(parsed)
}

const stack = await startTestStack(undefined, crossed)

test.each(['llama', 'qwen'])(
  'a node that is not the one of its pool gets no prompt, though its certificate is of the same authority: %s',
  async (model) => {
    const answer = await stack.send({ caller: 'alice', body: chat({ model }) })
    expect(answer.status).toBe(503)
    expect(await stack.endOf(answer)).toMatchObject({ outcome: 'released' })
    expect([...stack.nodeA.served, ...stack.nodeB.served]).toEqual([])
  },
)
