import { describe, expect, test } from 'vitest'
import { mayConnect } from './network-policy.js'
import type { Endpoint, LabelSelector, NetworkPolicySpec, Target } from './network-policy.js'

const namespaces = new Map([
  ['red', { team: 'red' }],
  ['blue', { team: 'blue' }],
])
const server: Endpoint = {
  name: 'server',
  namespace: 'red',
  ip: '10.0.0.1',
  labels: { app: 'server' },
  ports: [
    { name: 'web', containerPort: 8080 },
    { name: 'dns', containerPort: 53, protocol: 'UDP' },
  ],
}
const friend: Endpoint = {
  name: 'friend',
  namespace: 'red',
  ip: '10.0.0.2',
  labels: { app: 'friend' },
}
const stranger: Endpoint = {
  name: 'stranger',
  namespace: 'blue',
  ip: '10.0.1.1',
  labels: { app: 'friend' },
}
const outside: Endpoint = { name: 'outside', ip: '203.0.113.7' }
const web: Target = { protocol: 'TCP', port: 8080 }

/** Who of the three may reach the server with these policies in its namespace. */
function callers(specs: readonly NetworkPolicySpec[], target = web): readonly string[] {
  const policies = specs.map((spec, index) => ({ name: String(index), namespace: 'red', spec }))
  return [friend, stranger, outside]
    .filter((from) => mayConnect(policies, namespaces, from, server, target))
    .map(({ name }) => name)
}

const closed: NetworkPolicySpec = { podSelector: {}, policyTypes: ['Ingress', 'Egress'] }
const from = (
  ...peers: NonNullable<NonNullable<NetworkPolicySpec['ingress']>[number]['from']>
): NetworkPolicySpec => ({
  podSelector: {},
  ingress: [{ from: peers }],
})

test('without a policy everybody may connect', () => {
  expect(callers([])).toEqual(['friend', 'stranger', 'outside'])
})

test('a policy without rules closes', () => {
  expect(callers([closed])).toEqual([])
})

test('a policy of another namespace binds nobody here', () => {
  const elsewhere = { name: 'closed', namespace: 'blue', spec: closed }
  expect(mayConnect([elsewhere], namespaces, friend, server, web)).toBe(true)
})

test('a policy closes only the pods that it selects', () => {
  const others: NetworkPolicySpec = {
    podSelector: { matchLabels: { app: 'other' } },
    policyTypes: ['Ingress'],
  }
  expect(callers([others])).toEqual(['friend', 'stranger', 'outside'])
})

test('policies add up: none takes back what another allows', () => {
  expect(callers([closed, { podSelector: {}, ingress: [{}] }])).toEqual(['stranger', 'outside'])
})

test('an empty rule allows everybody, an empty list of rules nobody', () => {
  expect(callers([{ podSelector: {}, ingress: [{}] }])).toEqual(['friend', 'stranger', 'outside'])
  expect(callers([{ podSelector: {}, ingress: [{ from: [], ports: [] }] }])).toEqual([
    'friend',
    'stranger',
    'outside',
  ])
  expect(callers([{ podSelector: {}, ingress: [] }])).toEqual([])
})

describe('peers', () => {
  test('a pod selector alone means pods of the policy’s own namespace', () => {
    expect(callers([from({ podSelector: { matchLabels: { app: 'friend' } } })])).toEqual(['friend'])
  })
  test('a namespace selector alone means all pods of those namespaces', () => {
    expect(callers([from({ namespaceSelector: { matchLabels: { team: 'blue' } } })])).toEqual([
      'stranger',
    ])
    expect(callers([from({ namespaceSelector: {} })])).toEqual(['friend', 'stranger'])
  })
  test('both in one entry mean both, in two entries either', () => {
    const blue = { namespaceSelector: { matchLabels: { team: 'blue' } } }
    const other = { podSelector: { matchLabels: { app: 'other' } } }
    expect(callers([from({ ...blue, ...other })])).toEqual([])
    expect(callers([from(blue, { podSelector: {} })])).toEqual(['friend', 'stranger'])
  })
  test('an address block takes addresses, but for its exceptions', () => {
    expect(callers([from({ ipBlock: { cidr: '203.0.113.0/24' } })])).toEqual(['outside'])
    expect(
      callers([from({ ipBlock: { cidr: '203.0.113.0/24', except: ['203.0.113.7/32'] } })]),
    ).toEqual([])
    expect(callers([from({ ipBlock: { cidr: 'fd00::/8' } })])).toEqual([])
  })
})

describe('ports', () => {
  const ports = (
    ...list: { protocol?: string; port?: number | string; endPort?: number }[]
  ): NetworkPolicySpec => ({
    podSelector: {},
    ingress: [{ ports: list }],
  })
  const open = (spec: NetworkPolicySpec, target: Target): boolean =>
    callers([spec], target).includes('friend')

  test('TCP where nothing is said, and no other protocol', () => {
    expect(open(ports({ port: 8080 }), web)).toBe(true)
    expect(open(ports({ port: 8080 }), { protocol: 'UDP', port: 8080 })).toBe(false)
    expect(open(ports({ port: 8080 }), { protocol: 'TCP', port: 8081 })).toBe(false)
  })
  test('a range holds both of its ends', () => {
    const range = ports({ port: 8000, endPort: 8080 })
    expect(
      [7999, 8000, 8080, 8081].filter((port) => open(range, { protocol: 'TCP', port })),
    ).toEqual([8000, 8080])
  })
  test('a name is looked up at the pod that is called', () => {
    expect(open(ports({ port: 'web' }), web)).toBe(true)
    expect(open(ports({ port: 'web' }), { protocol: 'TCP', port: 9090 })).toBe(false)
    expect(open(ports({ port: 'dns', protocol: 'UDP' }), { protocol: 'UDP', port: 53 })).toBe(true)
  })
  test('a protocol without a port means all of its ports', () => {
    expect(open(ports({ protocol: 'TCP' }), { protocol: 'TCP', port: 1 })).toBe(true)
  })
})

test('without policyTypes a policy closes ingress, and egress only if it has rules of it', () => {
  const select = { podSelector: { matchLabels: { app: 'friend' } } }
  expect(callers([select])).toContain('friend')
  expect(callers([{ ...select, egress: [] }])).not.toContain('friend')
})

test('both ends must agree', () => {
  const policies = (egress: NetworkPolicySpec['egress']) => [
    {
      name: 'out',
      namespace: 'blue',
      spec: {
        podSelector: {},
        policyTypes: ['Egress'] as const,
        ...(egress === undefined ? {} : { egress }),
      },
    },
    { name: 'in', namespace: 'red', spec: from({ namespaceSelector: {} }) },
  ]
  expect(mayConnect(policies([]), namespaces, stranger, server, web)).toBe(false)
  expect(
    mayConnect(policies([{ to: [{ namespaceSelector: {} }] }]), namespaces, stranger, server, web),
  ).toBe(true)
})

test.each<[LabelSelector['matchExpressions'], readonly string[]]>([
  [[{ key: 'app', operator: 'In', values: ['friend', 'other'] }], ['friend']],
  [[{ key: 'app', operator: 'NotIn', values: ['friend'] }], []],
  [[{ key: 'zone', operator: 'NotIn', values: ['a'] }], ['friend']],
  [[{ key: 'app', operator: 'Exists' }], ['friend']],
  [[{ key: 'app', operator: 'DoesNotExist' }], []],
])('%j selects %j', (matchExpressions, expected) => {
  expect(
    callers([from({ podSelector: matchExpressions === undefined ? {} : { matchExpressions } })]),
  ).toEqual(expected)
})
