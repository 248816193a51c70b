import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { kubernetesValidator } from './kubernetes-schema.js'
import type { KubernetesObject } from './kustomization.js'
import { renderKustomization, repository } from './kustomization.js'
import { podSecurityFaults } from './pod-security.js'
import { containersOf, probesOf, workloadsOf } from './workload.js'
import type { PodSpec, Workload } from './workload.js'

const rendered = renderKustomization('.')
const { objects, configMaps: generated } = rendered
const workloads = workloadsOf(rendered)
const names = workloads.map(({ namespace, name }) => `${namespace}/${name}`)

const named = (kind: string, name: string): KubernetesObject => {
  const object = objects.find(
    (candidate) => candidate.kind === kind && candidate.metadata.name === name,
  )
  if (object === undefined) throw new Error(`no ${kind} ${name}`)
  return object
}

test('what is deployed is the gateway and one workload for each pool', () => {
  expect(names).toEqual(['gateway/llm-gateway', 'gpu/gpu-a', 'gpu/gpu-b'])
})

// The first release whose sidecars start and stop in order without a switch, and the newest that is known.
describe.each(['1.29', '1.37'])('by the strict schemas of Kubernetes %s', (release) => {
  const validate = kubernetesValidator(release)

  test.each(objects.map((object) => [`${object.kind} ${object.metadata.name}`, object] as const))(
    '%s is right',
    (_, object) => {
      expect(validate(object)).toEqual([])
    },
  )

  test('an unknown field, a wrong type, a missing field and an unknown kind are found', () => {
    const gateway = named('StatefulSet', 'llm-gateway')
    const faultsOf = (change: Record<string, unknown>): string =>
      validate({ ...gateway, spec: { ...(gateway.spec as object), ...change } }).join('\n')
    expect(faultsOf({ replica: 2 })).toContain('"additionalProperty":"replica"')
    expect(faultsOf({ replicas: 'two' })).toContain('.spec.replicas should be integer')
    expect(faultsOf({ selector: undefined })).toContain('"missingProperty":"selector"')
    expect(validate({ ...gateway, kind: 'StatefulSets' })).toEqual([
      'no such kind: apps/v1 StatefulSets',
    ])
  })
})

test('no two objects have the same name', () => {
  const all = [
    ...objects.map(({ kind, metadata }) => `${kind} ${metadata.namespace ?? ''}/${metadata.name}`),
    ...generated.map(({ namespace, name }) => `ConfigMap ${namespace}/${name}`),
  ]
  expect(all).toEqual([...new Set(all)])
})

test('every object is in a namespace that is made here', () => {
  const namespaces = objects
    .filter(({ kind }) => kind === 'Namespace')
    .map(({ metadata }) => metadata.name)
  const used = objects
    .filter(({ kind }) => kind !== 'Namespace')
    .map(({ metadata }) => metadata.namespace)
  expect(new Set(used)).toEqual(new Set(namespaces))
})

test('every namespace refuses pods that break the restricted standard', () => {
  for (const { kind, metadata } of objects) {
    if (kind !== 'Namespace') continue
    expect(metadata.labels).toMatchObject({ 'pod-security.kubernetes.io/enforce': 'restricted' })
  }
})

describe('selectors', () => {
  const matches = (selector: Readonly<Record<string, string>>, { labels }: Workload): boolean =>
    Object.entries(selector).every(([key, value]) => labels[key] === value)

  test.each(workloads.map((workload) => [workload.name, workload] as const))(
    'the workload %s selects its own pods and no others of its namespace',
    (name, { selector, namespace }) => {
      const selected = workloads.filter(
        (other) => other.namespace === namespace && matches(selector, other),
      )
      expect(selected.map((other) => other.name)).toEqual([name])
    },
  )

  test.each(
    objects
      .filter(({ kind }) => kind === 'Service')
      .map((object) => [object.metadata.name, object] as const),
  )(
    'the service %s selects the pods of the workload of that name, at a port they have',
    (name, service) => {
      const { selector, ports } = service.spec as {
        selector: Record<string, string>
        ports: { targetPort: string }[]
      }
      const selected = workloads.filter(
        (workload) =>
          workload.namespace === service.metadata.namespace && matches(selector, workload),
      )
      expect(selected.map((workload) => workload.name)).toEqual([name])
      const open = selected
        .flatMap(({ pod }) => containersOf(pod))
        .flatMap(({ ports: own = [] }) => own)
      for (const { targetPort } of ports)
        expect(open.map((port) => port.name)).toContain(targetPort)
    },
  )

  test('the disruption budget selects the gateway and lets one replica go at a time', () => {
    const { selector, maxUnavailable } = named('PodDisruptionBudget', 'llm-gateway').spec as {
      selector: { matchLabels: Record<string, string> }
      maxUnavailable: number
    }
    const selected = workloads.filter((workload) => matches(selector.matchLabels, workload))
    expect(
      selected.map(({ name, replicas }) => ({ name, spared: replicas - maxUnavailable })),
    ).toEqual([{ name: 'llm-gateway', spared: 1 }])
  })
})

describe('references', () => {
  // Secrets and models are nobody's to commit: the page says how to make them.
  const operatorsOwn = [
    'ConfigMap gateway/engine-authority',
    'ConfigMap gpu/gateway-authority',
    'PersistentVolumeClaim gpu/models',
    'Secret gateway/envoy-client-certificate',
    'Secret gateway/tollgate-audit-key',
    'Secret gpu/gpu-a-certificate',
    'Secret gpu/gpu-b-certificate',
  ]

  const referencesOf = ({ namespace, pod }: Workload): readonly string[] => [
    `ServiceAccount ${namespace}/${pod.serviceAccountName ?? 'default'}`,
    ...(pod.volumes ?? []).flatMap(({ configMap, secret, projected, persistentVolumeClaim }) => {
      const configMaps = [
        configMap,
        ...(projected?.sources ?? []).map((source) => source.configMap),
      ]
      const secrets = [
        secret?.secretName,
        ...(projected?.sources ?? []).map((source) => source.secret?.name),
      ]
      return [
        ...configMaps.flatMap((source) =>
          source === undefined ? [] : [`ConfigMap ${namespace}/${source.name}`],
        ),
        ...secrets.flatMap((name) => (name === undefined ? [] : [`Secret ${namespace}/${name}`])),
        ...(persistentVolumeClaim === undefined
          ? []
          : [`PersistentVolumeClaim ${namespace}/${persistentVolumeClaim.claimName}`]),
      ]
    }),
  ]
  const present = [
    ...objects.map(({ kind, metadata }) => `${kind} ${metadata.namespace ?? ''}/${metadata.name}`),
    ...generated.map(({ namespace, name }) => `ConfigMap ${namespace}/${name}`),
  ]

  test('whatever a pod refers to is made here, or is the operator’s', () => {
    const missing = workloads
      .flatMap(referencesOf)
      .filter((reference) => !present.includes(reference))
    expect(new Set(missing)).toEqual(new Set(operatorsOwn))
  })

  test('the deployment page says how to make what is the operator’s', () => {
    const page = readFileSync(join(repository, 'docs', 'deployment.md'), 'utf8')
    const unnamed = operatorsOwn.filter(
      (reference) => !page.includes(`\`${reference.split('/')[1] ?? ''}\``),
    )
    expect(unnamed).toEqual([])
  })

  test('every ConfigMap that is made is used', () => {
    const used = new Set(workloads.flatMap(referencesOf))
    expect(
      generated
        .map(({ namespace, name }) => `ConfigMap ${namespace}/${name}`)
        .filter((name) => !used.has(name)),
    ).toEqual([])
  })

  test.each(workloads.map((workload) => [workload.name, workload] as const))(
    'the containers of %s mount volumes and probe ports that exist',
    (_, { pod, claims }) => {
      const volumes = [...(pod.volumes ?? []).map(({ name }) => name), ...claims]
      const mounted = containersOf(pod).flatMap(({ volumeMounts = [] }) => volumeMounts)
      expect(new Set(mounted.map(({ name }) => name))).toEqual(new Set(volumes))
      for (const container of containersOf(pod)) {
        for (const probe of Object.values(probesOf(container))) {
          const port = probe?.httpGet?.port ?? probe?.tcpSocket?.port
          if (port !== undefined) expect(container.ports?.map(({ name }) => name)).toContain(port)
          // The kubelet asks at the pod's address; with `host` it would ask another machine.
          expect(probe?.httpGet?.host).toBeUndefined()
        }
      }
    },
  )
})

describe('pod security', () => {
  test.each(workloads.map((workload) => [workload.name, workload.pod] as const))(
    'the pods of %s keep to the restricted standard and to what goes beyond it',
    (_, pod) => {
      expect(podSecurityFaults(pod)).toEqual([])
    },
  )

  const [gateway] = workloads
  if (gateway === undefined) throw new Error('no workload')
  const withContainer = (change: object): PodSpec => ({
    ...gateway.pod,
    containers: gateway.pod.containers.map((container) => ({ ...container, ...change })),
  })
  const withSecurity = (change: object): PodSpec =>
    withContainer({ securityContext: { ...gateway.pod.containers[0]?.securityContext, ...change } })

  test.each<[string, PodSpec]>([
    ['hostNetwork', { ...gateway.pod, hostNetwork: true }],
    ['hostPID', { ...gateway.pod, hostPID: true }],
    ['hostIPC', { ...gateway.pod, hostIPC: true }],
    [
      'volume host: hostPath',
      { ...gateway.pod, volumes: [{ name: 'host', hostPath: { path: '/' } }] },
    ],
    ['automountServiceAccountToken', { ...gateway.pod, automountServiceAccountToken: true }],
    ['enableServiceLinks', { ...gateway.pod, enableServiceLinks: true }],
    ['serviceAccountName', { ...gateway.pod, serviceAccountName: 'default' }],
    ['envoy: runAsNonRoot', withSecurity({ runAsNonRoot: false })],
    ['envoy: runAsUser', withSecurity({ runAsUser: 0 })],
    ['envoy: runAsGroup', withSecurity({ runAsGroup: 1000 })],
    ['envoy: fsGroup', withSecurity({ runAsGroup: 10002 })],
    [
      'envoy: fsGroup',
      {
        ...gateway.pod,
        securityContext: { ...gateway.pod.securityContext, fsGroup: undefined },
      },
    ],
    ['envoy: privileged', withSecurity({ privileged: true })],
    ['envoy: allowPrivilegeEscalation', withSecurity({ allowPrivilegeEscalation: undefined })],
    ['envoy: readOnlyRootFilesystem', withSecurity({ readOnlyRootFilesystem: false })],
    ['envoy: capabilities', withSecurity({ capabilities: { drop: ['ALL'], add: ['NET_ADMIN'] } })],
    ['envoy: seccompProfile', withSecurity({ seccompProfile: { type: 'Unconfined' } })],
    ['envoy: hostPort', withContainer({ ports: [{ containerPort: 8080, hostPort: 8080 }] })],
    [
      'envoy: memory',
      withContainer({
        resources: {
          requests: { cpu: '1', 'ephemeral-storage': '1Gi' },
          limits: { 'ephemeral-storage': '1Gi' },
        },
      }),
    ],
    ['envoy: image', withContainer({ image: 'envoyproxy/envoy:latest' })],
  ])('%s is found', (fault, pod) => {
    expect(podSecurityFaults(pod)).toContain(fault)
  })

  test('no secret is given in the environment', () => {
    for (const { env = [], envFrom = [] } of workloads.flatMap(({ pod }) => containersOf(pod))) {
      expect(envFrom).toEqual([])
      expect(env.filter(({ valueFrom }) => valueFrom !== undefined)).toEqual([])
    }
  })

  test('secrets are files that nobody but their group can read', () => {
    const modes = workloads
      .flatMap(({ pod }) => pod.volumes ?? [])
      .flatMap(({ secret, projected }) => secret ?? projected ?? [])
      .map(({ defaultMode }) => defaultMode)
    expect(modes).toEqual([0o440, 0o440, 0o440, 0o440])
  })
})
