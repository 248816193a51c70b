import { BlockList, isIPv4 } from 'node:net'
import type { Port } from './workload.js'

type Labels = Readonly<Record<string, string>>

export interface LabelSelector {
  readonly matchLabels?: Labels
  readonly matchExpressions?: readonly {
    readonly key: string
    readonly operator: 'In' | 'NotIn' | 'Exists' | 'DoesNotExist'
    readonly values?: readonly string[]
  }[]
}

export interface Peer {
  readonly podSelector?: LabelSelector
  readonly namespaceSelector?: LabelSelector
  readonly ipBlock?: { readonly cidr: string; readonly except?: readonly string[] }
}

export interface PolicyPort {
  readonly protocol?: string
  readonly port?: number | string
  readonly endPort?: number
}

export interface NetworkPolicySpec {
  readonly podSelector: LabelSelector
  readonly policyTypes?: readonly ('Ingress' | 'Egress')[]
  readonly ingress?: readonly {
    readonly from?: readonly Peer[]
    readonly ports?: readonly PolicyPort[]
  }[]
  readonly egress?: readonly {
    readonly to?: readonly Peer[]
    readonly ports?: readonly PolicyPort[]
  }[]
}

export interface NetworkPolicy {
  readonly name: string
  readonly namespace: string
  readonly spec: NetworkPolicySpec
}

/** A pod, or, without namespace, an address outside of the cluster's pods. */
export interface Endpoint {
  readonly name: string
  readonly ip: string
  readonly namespace?: string
  readonly labels?: Labels
  readonly ports?: readonly Port[]
}

export interface Target {
  readonly protocol: 'TCP' | 'UDP'
  readonly port: number
}

/**
 * Whether a connection may be opened, as `networking.k8s.io/v1` has it: policies only add. A pod that a policy selects
 * for a direction is closed in it but for what the policies that select it list; any other is open. Both ends must agree.
 *
 * Not looked at, as in the API: traffic within a pod, of nodes to their own pods, and of pods in the host's network.
 *
 * @param namespaces labels of each
 */
export function mayConnect(
  policies: readonly NetworkPolicy[],
  namespaces: ReadonlyMap<string, Labels>,
  from: Endpoint,
  to: Endpoint,
  target: Target,
): boolean {
  const leaves = binding(policies, from, 'Egress')
  const enters = binding(policies, to, 'Ingress')
  const isPeer = (policy: NetworkPolicy, peer: Peer, endpoint: Endpoint): boolean =>
    matchesPeer(policy, peer, endpoint, namespaces)
  const mayLeave =
    leaves.length === 0 ||
    leaves.some((policy) =>
      (policy.spec.egress ?? []).some(
        (rule) =>
          anyOf(rule.to, (peer) => isPeer(policy, peer, to)) &&
          anyOf(rule.ports, (port) => matchesPort(port, to, target)),
      ),
    )
  const mayEnter =
    enters.length === 0 ||
    enters.some((policy) =>
      (policy.spec.ingress ?? []).some(
        (rule) =>
          anyOf(rule.from, (peer) => isPeer(policy, peer, from)) &&
          anyOf(rule.ports, (port) => matchesPort(port, to, target)),
      ),
    )
  return mayLeave && mayEnter
}

/** An absent or empty list is no condition. */
function anyOf<Item>(
  items: readonly Item[] | undefined,
  matches: (item: Item) => boolean,
): boolean {
  return items === undefined || items.length === 0 || items.some(matches)
}

/** The policies that close a pod in one direction. */
function binding(
  policies: readonly NetworkPolicy[],
  endpoint: Endpoint,
  direction: 'Ingress' | 'Egress',
): readonly NetworkPolicy[] {
  return policies.filter(
    ({ namespace, spec }) =>
      namespace === endpoint.namespace &&
      matchesLabels(spec.podSelector, endpoint.labels ?? {}) &&
      typesOf(spec).includes(direction),
  )
}

/** Ingress if nothing is said, and Egress only if there are rules of it. */
function typesOf(spec: NetworkPolicySpec): readonly string[] {
  return spec.policyTypes ?? (spec.egress === undefined ? ['Ingress'] : ['Ingress', 'Egress'])
}

function matchesPeer(
  policy: NetworkPolicy,
  { podSelector, namespaceSelector, ipBlock }: Peer,
  endpoint: Endpoint,
  namespaces: ReadonlyMap<string, Labels>,
): boolean {
  if (ipBlock !== undefined) {
    return (
      inBlock(ipBlock.cidr, endpoint.ip) &&
      !(ipBlock.except ?? []).some((cidr) => inBlock(cidr, endpoint.ip))
    )
  }
  if (endpoint.namespace === undefined) return false
  const namespaceFits =
    namespaceSelector === undefined
      ? endpoint.namespace === policy.namespace
      : matchesLabels(namespaceSelector, namespaces.get(endpoint.namespace) ?? {})
  return (
    namespaceFits &&
    (podSelector === undefined || matchesLabels(podSelector, endpoint.labels ?? {}))
  )
}

/** An empty selector selects all. */
function matchesLabels(
  { matchLabels = {}, matchExpressions = [] }: LabelSelector,
  labels: Labels,
): boolean {
  const has = (key: string): boolean => Object.hasOwn(labels, key)
  return (
    Object.entries(matchLabels).every(([key, value]) => has(key) && labels[key] === value) &&
    matchExpressions.every(({ key, operator, values = [] }) => {
      const listed = has(key) && values.includes(labels[key] ?? '')
      switch (operator) {
        case 'In':
          return listed
        case 'NotIn':
          return !listed
        case 'Exists':
          return has(key)
        case 'DoesNotExist':
          return !has(key)
      }
    })
  )
}

function matchesPort(
  { protocol = 'TCP', port, endPort }: PolicyPort,
  to: Endpoint,
  target: Target,
): boolean {
  if (protocol !== target.protocol) return false
  if (port === undefined) return true
  if (typeof port === 'string') {
    return (to.ports ?? []).some(
      (own) =>
        own.name === port &&
        own.containerPort === target.port &&
        (own.protocol ?? 'TCP') === target.protocol,
    )
  }
  return target.port >= port && target.port <= (endPort ?? port)
}

function inBlock(cidr: string, ip: string): boolean {
  const [address = '', prefix = ''] = cidr.split('/')
  const family = isIPv4(address) ? 'ipv4' : 'ipv6'
  const block = new BlockList()
  block.addSubnet(address, Number(prefix), family)
  return isIPv4(ip) === isIPv4(address) && block.check(ip, family)
}
