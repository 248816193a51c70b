import { describe, expect, test } from 'vitest'
import { renderKustomization } from './kustomization.js'
import { mayConnect } from './network-policy.js'
import type { Endpoint, NetworkPolicy, NetworkPolicySpec, Target } from './network-policy.js'
import { containersOf, workloadsOf } from './workload.js'

const rendered = renderKustomization('.')

const policies: readonly NetworkPolicy[] = rendered.objects
  .filter(({ kind }) => kind === 'NetworkPolicy')
  .map(({ metadata, spec }) => ({
    name: metadata.name,
    namespace: metadata.namespace ?? 'default',
    spec: spec as NetworkPolicySpec,
  }))

const ownNamespaces = ['gateway', 'gpu']
const otherNamespaces = ['default', 'ingress', 'kube-system', 'monitoring']
const namespaces = new Map(
  [...ownNamespaces, ...otherNamespaces].map((name) => [
    name,
    { 'kubernetes.io/metadata.name': name },
  ]),
)

const projectLabels = { 'app.kubernetes.io/part-of': 'tollgate' }
const gatewayLabels = { 'app.kubernetes.io/name': 'llm-gateway' }
const engineLabels = { 'app.kubernetes.io/component': 'engine' }
const dnsLabels = { 'k8s-app': 'kube-dns' }

/** The pods of the manifests, those around them, and those that try. */
const endpoints: readonly Endpoint[] = [
  ...workloadsOf(rendered).map(({ namespace, name, labels, pod }, index) => ({
    name: `${namespace}/${name}`,
    namespace,
    labels,
    ip: `10.1.0.${String(index + 1)}`,
    ports: containersOf(pod).flatMap(({ ports = [] }) => ports),
  })),
  // In our namespaces and neither the gateway nor an engine: a debug pod, a job, a part to come, pods without labels.
  { name: 'gateway/debug', namespace: 'gateway', ip: '10.1.1.1', labels: { run: 'debug' } },
  { name: 'gateway/store', namespace: 'gateway', ip: '10.1.1.2', labels: projectLabels },
  { name: 'gateway/unlabelled', namespace: 'gateway', ip: '10.1.1.3' },
  { name: 'gpu/job', namespace: 'gpu', ip: '10.1.1.4', labels: { job: 'fine-tuning' } },
  { name: 'gpu/exporter', namespace: 'gpu', ip: '10.1.1.5', labels: projectLabels },
  { name: 'gpu/unlabelled', namespace: 'gpu', ip: '10.1.1.6' },
  // In one of our namespaces with the labels of the other.
  { name: 'gateway/false-engine', namespace: 'gateway', ip: '10.1.2.1', labels: engineLabels },
  { name: 'gpu/false-gateway', namespace: 'gpu', ip: '10.1.2.2', labels: gatewayLabels },
  // In a namespace of others with our labels.
  { name: 'default/false-gateway', namespace: 'default', ip: '10.2.0.1', labels: gatewayLabels },
  { name: 'default/false-engine', namespace: 'default', ip: '10.2.0.2', labels: engineLabels },
  { name: 'default/false-dns', namespace: 'default', ip: '10.2.0.3', labels: dnsLabels },
  { name: 'default/notebook', namespace: 'default', ip: '10.2.0.4', labels: { app: 'notebook' } },
  { name: 'kube-system/dns', namespace: 'kube-system', ip: '10.2.0.5', labels: dnsLabels },
  { name: 'kube-system/other', namespace: 'kube-system', ip: '10.2.0.6', labels: { app: 'other' } },
  { name: 'ingress/controller', namespace: 'ingress', ip: '10.2.0.7', labels: { app: 'ingress' } },
  {
    name: 'monitoring/prometheus',
    namespace: 'monitoring',
    ip: '10.2.0.8',
    labels: { app: 'prometheus' },
  },
  { name: 'identity provider', ip: '203.0.113.10' },
  { name: 'its neighbour', ip: '203.0.113.11' },
  { name: 'internet', ip: '198.51.100.7' },
  { name: 'cloud metadata', ip: '169.254.169.254' },
  { name: 'node DNS cache', ip: '169.254.20.10' },
]

/** Every port that something here or near it listens on, or might; the neighbours of the engines', and the first and last. */
const targets: readonly Target[] = [
  1, 22, 53, 80, 443, 5000, 6443, 8000, 8080, 8442, 8443, 8444, 9192, 9193, 9400, 9901, 10250,
  65535,
].flatMap((port): readonly Target[] => [
  { protocol: 'TCP', port },
  { protocol: 'UDP', port },
])

/** Every way from or into these namespaces that the policies leave open, as `from -> to protocol/port`. */
function openWays(
  inForce: readonly NetworkPolicy[],
  closed: readonly string[] = ownNamespaces,
): readonly string[] {
  const isClosed = ({ namespace = '' }: Endpoint): boolean => closed.includes(namespace)
  return endpoints
    .flatMap((from) =>
      endpoints
        .filter((to) => to !== from && (isClosed(from) || isClosed(to)))
        .flatMap((to) =>
          targets
            .filter((target) => mayConnect(inForce, namespaces, from, to, target))
            .map(({ protocol, port }) => `${from.name} -> ${to.name} ${protocol}/${String(port)}`),
        ),
    )
    .sort()
}

const ofNamespace = (name: string): readonly NetworkPolicy[] =>
  policies.filter(({ namespace }) => namespace === name)

/** What the gateway's policies leave open, whatever those of others say. The whole list: what is not in it is refused. */
const intendedOfGateway = [
  'gateway/llm-gateway -> gpu/gpu-a TCP/8443',
  'gateway/llm-gateway -> gpu/gpu-b TCP/8443',
  'gateway/llm-gateway -> identity provider TCP/443',
  'gateway/llm-gateway -> kube-system/dns TCP/53',
  'gateway/llm-gateway -> kube-system/dns UDP/53',
  'gateway/llm-gateway -> node DNS cache TCP/53',
  'gateway/llm-gateway -> node DNS cache UDP/53',
  'ingress/controller -> gateway/llm-gateway TCP/8080',
  'monitoring/prometheus -> gateway/llm-gateway TCP/9192',
]

/** The same of the GPU namespace, whatever the gateway's say: an engine trusts no fence but its own. */
const intendedOfGpu = [
  'gateway/llm-gateway -> gpu/gpu-a TCP/8443',
  'gateway/llm-gateway -> gpu/gpu-b TCP/8443',
  'gpu/gpu-a -> kube-system/dns TCP/53',
  'gpu/gpu-a -> kube-system/dns UDP/53',
  'gpu/gpu-a -> node DNS cache TCP/53',
  'gpu/gpu-a -> node DNS cache UDP/53',
  'gpu/gpu-b -> kube-system/dns TCP/53',
  'gpu/gpu-b -> kube-system/dns UDP/53',
  'gpu/gpu-b -> node DNS cache TCP/53',
  'gpu/gpu-b -> node DNS cache UDP/53',
]

const intended = [...new Set([...intendedOfGateway, ...intendedOfGpu])].sort()

test('exactly the intended ways are open', () => {
  expect(openWays(policies)).toEqual(intended)
})

// Both ends must agree, so one end's fence hides the holes of the other's.
describe('with every other namespace open', () => {
  test('the policies of the gateway alone leave exactly its ways open', () => {
    expect(openWays(ofNamespace('gateway'), ['gateway'])).toEqual(intendedOfGateway)
  })

  test('the policies of the GPU namespace alone leave exactly its ways open', () => {
    expect(openWays(ofNamespace('gpu'), ['gpu'])).toEqual(intendedOfGpu)
  })
})

describe('every policy is needed', () => {
  test.each(policies.map(({ namespace, name }) => [namespace, name] as const))(
    'without %s/%s other ways are open',
    (namespace, name) => {
      const others = policies.filter(
        (policy) => policy.namespace !== namespace || policy.name !== name,
      )
      expect(others).toHaveLength(policies.length - 1)
      expect(openWays(others)).not.toEqual(intended)
    },
  )
})

test('each namespace closes both directions for whatever pod comes into it', () => {
  const closing = policies.filter(
    ({ spec }) =>
      JSON.stringify(spec) ===
      JSON.stringify({ podSelector: {}, policyTypes: ['Ingress', 'Egress'] }),
  )
  expect(closing.map(({ namespace }) => namespace)).toEqual(ownNamespaces)
})

test('every policy says which directions it closes', () => {
  expect(policies.filter(({ spec }) => spec.policyTypes === undefined)).toEqual([])
})
