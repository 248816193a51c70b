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
  // In our namespaces without our labels: a debug pod, a job.
  { name: 'gateway/debug', namespace: 'gateway', ip: '10.1.1.1', labels: { run: 'debug' } },
  { name: 'gpu/job', namespace: 'gpu', ip: '10.1.1.2', labels: { job: 'fine-tuning' } },
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

/** Every port that something here or near it listens on, or might. */
const targets: readonly Target[] = [
  { protocol: 'UDP', port: 53 },
  ...[22, 53, 80, 443, 5000, 6443, 8000, 8080, 8443, 9192, 9193, 9400, 9901, 10250].map(
    (port): Target => ({ protocol: 'TCP', port }),
  ),
]

/** Every way from or into our namespaces that the policies leave open, as `from -> to protocol/port`. */
function openWays(inForce: readonly NetworkPolicy[]): readonly string[] {
  const ours = ({ namespace = '' }: Endpoint): boolean => ownNamespaces.includes(namespace)
  return endpoints
    .flatMap((from) =>
      endpoints
        .filter((to) => to !== from && (ours(from) || ours(to)))
        .flatMap((to) =>
          targets
            .filter((target) => mayConnect(inForce, namespaces, from, to, target))
            .map(({ protocol, port }) => `${from.name} -> ${to.name} ${protocol}/${String(port)}`),
        ),
    )
    .sort()
}

/** The whole list: what is not in it is refused. */
const intended = [
  'gateway/llm-gateway -> gpu/gpu-a TCP/8443',
  'gateway/llm-gateway -> gpu/gpu-b TCP/8443',
  'gateway/llm-gateway -> identity provider TCP/443',
  'gateway/llm-gateway -> kube-system/dns TCP/53',
  'gateway/llm-gateway -> kube-system/dns UDP/53',
  'gateway/llm-gateway -> node DNS cache TCP/53',
  'gateway/llm-gateway -> node DNS cache UDP/53',
  'gpu/gpu-a -> kube-system/dns TCP/53',
  'gpu/gpu-a -> kube-system/dns UDP/53',
  'gpu/gpu-a -> node DNS cache TCP/53',
  'gpu/gpu-a -> node DNS cache UDP/53',
  'gpu/gpu-b -> kube-system/dns TCP/53',
  'gpu/gpu-b -> kube-system/dns UDP/53',
  'gpu/gpu-b -> node DNS cache TCP/53',
  'gpu/gpu-b -> node DNS cache UDP/53',
  'ingress/controller -> gateway/llm-gateway TCP/8080',
  'monitoring/prometheus -> gateway/llm-gateway TCP/9192',
]

test('exactly the intended ways are open', () => {
  expect(openWays(policies)).toEqual(intended)
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
