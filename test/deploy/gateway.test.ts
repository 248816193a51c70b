import { execFile } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { createCertificates } from '../../deploy/demo/certificates.js'
import { findEnvoy } from '../../deploy/demo/find-envoy.js'
import { dispatch } from '../../src/commands/dispatch.js'
import { readConfig } from '../../src/config/load.js'
import { SECOND_MS } from '../../src/units.js'
import { startEnvoyProcess } from './envoy-process.js'
import { renderKustomization, repository } from './kustomization.js'
import { argument, containersOf, named, quantityBytes, workloadsOf } from './workload.js'
import type { Container } from './workload.js'

const rendered = renderKustomization('.')
const workloads = workloadsOf(rendered)
const { pod, claims } = named(workloads, 'llm-gateway')
const tollgate = named(containersOf(pod), 'tollgate')
const envoy = named(containersOf(pod), 'envoy')

const policyFile = join(repository, 'deploy', 'kubernetes', 'policy.yaml')
const { policy, settings } = readConfig(policyFile)

interface Cluster {
  readonly name: string
  readonly load_assignment: {
    readonly endpoints: readonly {
      readonly lb_endpoints: readonly { readonly endpoint: { readonly address: EnvoyAddress } }[]
    }[]
  }
}
interface EnvoyAddress {
  readonly socket_address?: { readonly address: string; readonly port_value: number }
  readonly pipe?: { readonly path: string }
}

const envoyText = readFileSync(join(repository, 'envoy.yaml'), 'utf8')
const { clusters } = (parse(envoyText) as { static_resources: { clusters: readonly Cluster[] } })
  .static_resources

function addressOf(cluster: string): EnvoyAddress {
  const endpoint = named(clusters, cluster).load_assignment.endpoints[0]?.lb_endpoints[0]?.endpoint
  if (endpoint === undefined) throw new Error(`${cluster} has no endpoint`)
  return endpoint.address
}

/** Every value of a key anywhere in envoy.yaml. */
function valuesOf(key: string): readonly string[] {
  return [...envoyText.matchAll(new RegExp(`\\b${key}: ([^\\s,}]+)`, 'g'))].map(
    ([, value = '']) => value,
  )
}

/** What is mounted at the longest prefix of a path. */
function mountOf(container: Container, path: string) {
  const mounts = (container.volumeMounts ?? []).filter(({ mountPath }) =>
    path.startsWith(`${mountPath}/`),
  )
  return mounts.sort((a, b) => b.mountPath.length - a.mountPath.length)[0]
}

const seconds = (durations: readonly string[]): readonly number[] =>
  durations.map((duration) => Number(/^(\d+)s$/.exec(duration)?.[1]))
const longestStreamSeconds = Math.max(
  ...seconds(valuesOf('max_stream_duration').filter((value) => value !== '{')),
)
const [, , settle, deadline] = envoy.lifecycle?.preStop?.exec?.command ?? []

test('the policy has no fault and agrees with envoy.yaml', async () => {
  const lines: string[] = []
  const code = await dispatch(
    ['check', '--policy', policyFile, '--envoy', join(repository, 'envoy.yaml')],
    {
      out: (line) => lines.push(line),
      err: (line) => lines.push(line),
      progress: undefined,
      readInput: () => Promise.reject(new Error('nothing is read')),
    },
  )
  expect({ code, last: lines.at(-1) }).toEqual({
    code: 0,
    last: `${join(repository, 'envoy.yaml')}: agrees with the policy`,
  })
})

describe('order', () => {
  test('Tollgate is a sidecar that starts before Envoy and is stopped after it', () => {
    expect(
      (pod.initContainers ?? []).map(({ name, restartPolicy }) => [name, restartPolicy]),
    ).toEqual([['tollgate', 'Always']])
    expect(pod.containers.map(({ name }) => name)).toEqual(['envoy'])
  })

  test('Envoy waits until Tollgate listens, and not for the identity provider', () => {
    expect(tollgate.startupProbe?.httpGet).toEqual({ path: '/healthz', port: 'metrics' })
    expect(tollgate.readinessProbe?.httpGet).toEqual({ path: '/readyz', port: 'metrics' })
    expect(tollgate.livenessProbe?.httpGet).toEqual({ path: '/healthz', port: 'metrics' })
  })

  test('a drain outlasts the longest stream that may have begun before it', () => {
    expect(longestStreamSeconds * SECOND_MS).toBe(policy.maxStreamMs)
    expect(Number(deadline)).toBeGreaterThanOrEqual(Number(settle) + longestStreamSeconds)
  })

  test('the grace period holds the drain of Envoy, that of Tollgate, and 10 s', () => {
    const tollgateSeconds = (settings.drain.delayMs + settings.drain.deadlineMs) / SECOND_MS
    expect(pod.terminationGracePeriodSeconds).toBeGreaterThanOrEqual(
      Number(deadline) + tollgateSeconds + 10,
    )
  })

  test('what hangs is not given half an hour', () => {
    for (const { livenessProbe } of [tollgate, envoy]) {
      expect(livenessProbe?.terminationGracePeriodSeconds).toBeLessThanOrEqual(30)
    }
  })

  test('the scripts that the kubelet runs are in the mounted ConfigMap', () => {
    const files = [...named(rendered.configMaps, 'envoy').files.keys()]
    for (const command of [
      envoy.lifecycle?.preStop?.exec?.command,
      envoy.livenessProbe?.exec?.command,
    ]) {
      const [shell, script = ''] = command ?? []
      expect(shell).toBe('bash')
      expect(mountOf(envoy, script)?.name).toBe('envoy-config')
      expect(files).toContain(script.slice(script.lastIndexOf('/') + 1))
    }
    // What the drain looks for is what envoy.yaml calls it.
    expect(valuesOf('stat_prefix')).toEqual(['llm'])
  })
})

describe('paths and ports', () => {
  test('both containers have the socket, and Envoy cannot replace it', () => {
    const { pipe } = addressOf('tollgate')
    expect(settings.listen.grpc).toEqual({ kind: 'unix', path: pipe?.path })
    expect(mountOf(tollgate, pipe?.path ?? '')).toEqual({
      name: 'socket',
      mountPath: '/run/tollgate',
    })
    expect(mountOf(envoy, pipe?.path ?? '')).toEqual({
      name: 'socket',
      mountPath: '/run/tollgate',
      readOnly: true,
    })
    expect(named(pod.volumes ?? [], 'socket').emptyDir?.medium).toBe('Memory')
  })

  test('both run as the one user who may connect to it', () => {
    for (const { securityContext } of containersOf(pod))
      expect(securityContext).not.toHaveProperty('runAsUser')
    expect(pod.securityContext?.['runAsUser']).toBe(10001)
  })

  test('the policy is a whole directory of a ConfigMap whose name stays, so that a change arrives', () => {
    const [verb, flag, path = ''] = tollgate.args ?? []
    expect([verb, flag]).toEqual(['serve', '--policy'])
    const mount = mountOf(tollgate, path)
    expect(mount).toEqual({ name: 'policy', mountPath: dirname(path), readOnly: true })
    const { files, hasContentHash } = named(
      rendered.configMaps,
      named(pod.volumes ?? [], 'policy').configMap?.name ?? '',
    )
    expect([...files]).toEqual([['policy.yaml', 'deploy/kubernetes/policy.yaml']])
    expect(hasContentHash).toBe(false)
  })

  test('a change of envoy.yaml changes a name, so that pods are replaced', () => {
    for (const name of ['envoy', 'envoy-sds'])
      expect(named(rendered.configMaps, name).hasContentHash).toBe(true)
  })

  test('the audit chain is on a volume of the replica, its key in a Secret', () => {
    const { file = '', keyFile = '' } = settings.audit ?? {}
    expect(mountOf(tollgate, file)?.name).toBe('audit')
    expect(claims).toEqual(['audit'])
    expect(mountOf(tollgate, keyFile)).toMatchObject({ name: 'audit-key', readOnly: true })
    expect(named(pod.volumes ?? [], 'audit-key').secret?.secretName).toBe('tollgate-audit-key')
  })

  test('nothing is mounted into a mount or by subPath', () => {
    for (const { volumeMounts = [] } of workloads.flatMap((workload) =>
      containersOf(workload.pod),
    )) {
      for (const { mountPath, subPath } of volumeMounts) {
        expect(subPath).toBeUndefined()
        expect(volumeMounts.filter((other) => other.mountPath.startsWith(`${mountPath}/`))).toEqual(
          [],
        )
      }
    }
  })

  test('metrics are on the port that is declared, what names callers on loopback', () => {
    expect(tollgate.ports).toEqual([{ name: 'metrics', containerPort: 9192, protocol: 'TCP' }])
    expect(settings.listen.metrics).toMatchObject({ host: '0.0.0.0', port: 9192 })
    expect(settings.listen.admin).toMatchObject({ host: '127.0.0.1' })
    expect(envoy.ports).toEqual([{ name: 'http', containerPort: 8080, protocol: 'TCP' }])
  })
})

describe('memory', () => {
  const limitOf = ({ resources }: Container): number =>
    quantityBytes(resources?.limits?.['memory'] ?? '')

  test('Envoy sheds load before it is killed', () => {
    const [heapBytes] = valuesOf('max_heap_size_bytes').map(Number)
    expect(limitOf(envoy)).toBeGreaterThanOrEqual((heapBytes ?? Infinity) * 1.2)
  })

  test('the heaps of all threads and the large bodies fit into Tollgate’s limit', () => {
    const { value = '' } = named(tollgate.env ?? [], 'NODE_OPTIONS')
    const heapBytes = quantityBytes(`${/--max-old-space-size=(\d+)/.exec(value)?.[1] ?? ''}Mi`)
    const threads = 1 + settings.limits.examinationWorkers
    expect(heapBytes * threads + settings.limits.maxExaminationBytes).toBeLessThan(
      limitOf(tollgate),
    )
  })
})

describe.each([...new Set(policy.models.map(({ pool }) => pool))])('the pool %s', (pool) => {
  const engine = named(workloads, pool)
  const container = named(engine.pod.containers, 'engine')

  test('is where Envoy looks for it, at the port that is open', () => {
    expect(addressOf(pool).socket_address).toEqual({
      address: `${pool}.${engine.namespace}.svc.cluster.local`,
      port_value: Number(argument(container, '--port')),
    })
    expect(container.ports?.map(({ containerPort }) => containerPort)).toEqual([
      Number(argument(container, '--port')),
    ])
  })

  test('bears the identity that Envoy asks for', () => {
    const { serviceAccountName = '' } = engine.pod
    expect(JSON.stringify(named(clusters, pool))).toContain(
      `"exact":"spiffe://tollgate.example/ns/${engine.namespace}/sa/${serviceAccountName}"`,
    )
  })

  test('answers nobody without a client certificate of the gateways’ authority', () => {
    expect(argument(container, '--ssl-cert-reqs')).toBe('2')
    for (const [name, file] of [
      ['--ssl-certfile', 'tls.crt'],
      ['--ssl-keyfile', 'tls.key'],
      ['--ssl-ca-certs', 'client-ca.crt'],
    ] as const) {
      const path = argument(container, name) ?? ''
      expect(path).toMatch(new RegExp(`/${file}$`))
      expect(mountOf(container, path)?.name).toBe('certificates')
    }
  })

  test('serves the models of the policy under all their names', () => {
    const args = container.args ?? []
    const from = args.indexOf('--served-model-name') + 1
    const served = args.slice(
      from,
      args.findIndex((arg, at) => at >= from && arg.startsWith('--')),
    )
    const models = policy.models.filter((model) => model.pool === pool)
    expect(served).toEqual(models.flatMap(({ name, aliases }) => [name, ...aliases]))
    expect(models.map(({ contextTokens }) => String(contextTokens))).toEqual([
      argument(container, '--max-model-len'),
    ])
  })

  test('finishes its streams before it goes', () => {
    const shutdownSeconds = Number(argument(container, '--shutdown-timeout'))
    expect(shutdownSeconds).toBeGreaterThanOrEqual(longestStreamSeconds)
    expect(engine.pod.terminationGracePeriodSeconds).toBeGreaterThanOrEqual(
      (container.lifecycle?.preStop?.sleep?.seconds ?? 0) + shutdownSeconds + 10,
    )
  })
})

describe('the real Envoy, its files as the pod has them', () => {
  const root = mkdtempSync(join(tmpdir(), 'tollgate-pod-'))
  afterAll(() => {
    rmSync(root, { recursive: true, force: true })
  })

  /** The text with the pod's paths below `root`. */
  const moved = (text: string): string =>
    text.replace(/\/(etc\/envoy|run\/tollgate)\//g, `${root}/$1/`)

  for (const { name, mountPath } of envoy.volumeMounts ?? []) {
    const { configMap } = named(pod.volumes ?? [], name)
    mkdirSync(join(root, mountPath), { recursive: true })
    if (configMap === undefined) continue
    for (const [key, file] of named(rendered.configMaps, configMap.name).files) {
      writeFileSync(join(root, mountPath, key), moved(readFileSync(join(repository, file), 'utf8')))
    }
  }
  const certificates = join(root, named(envoy.volumeMounts ?? [], 'certificates').mountPath)
  const args = (envoy.args ?? []).map(moved)

  /** A volume of Secrets as the kubelet makes and renews it: `..data` is a link that is replaced by a rename. */
  async function mountCertificate(version: string): Promise<string> {
    const source = mkdtempSync(join(root, 'issued-'))
    const { envoy: issued, authorityFile } = await createCertificates(source, [])
    mkdirSync(join(certificates, version))
    for (const [key, file] of [
      ['tls.crt', issued.certificateFile],
      ['tls.key', issued.keyFile],
      ['ca.crt', authorityFile],
    ] as const) {
      copyFileSync(file, join(certificates, version, key))
      if (version === '..first') symlinkSync(`..data/${key}`, join(certificates, key))
    }
    symlinkSync(version, join(certificates, '..data_tmp'))
    renameSync(join(certificates, '..data_tmp'), join(certificates, '..data'))
    return new X509Certificate(readFileSync(issued.certificateFile)).serialNumber.toLowerCase()
  }

  test('it finds every file that it is told of in a mount', () => {
    const paths = [
      envoyText,
      ...['client-certificate.yaml', 'authority.yaml'].map((name) =>
        readFileSync(join(repository, 'deploy', 'envoy', name), 'utf8'),
      ),
    ].flatMap(
      (text) =>
        text.replaceAll(/#.*/g, '').match(/\/(etc|run)\/[\w./-]+\.(yaml|crt|key|sock)\b/g) ?? [],
    )
    expect(paths.length).toBeGreaterThan(4)
    expect(paths.filter((path) => mountOf(envoy, path) === undefined)).toEqual([])
  })

  test('it accepts them, and takes up a certificate that is renewed', async () => {
    const first = await mountCertificate('..first')
    await promisify(execFile)(findEnvoy(), [...args, '--mode', 'validate'])

    const config = join(root, '/etc/envoy/config/envoy.yaml')
    const onFreePorts = readFileSync(config, 'utf8')
      .replace('address: 0.0.0.0, port_value: 8080', 'address: 127.0.0.1, port_value: 0')
      .replace('address: 127.0.0.1, port_value: 9901', 'address: 127.0.0.1, port_value: 0')
    writeFileSync(config, onFreePorts)
    const running = await startEnvoyProcess(root, args)
    try {
      const shown = async (): Promise<string> =>
        (await (await fetch(`${running.adminUrl}/certs`)).text()).toLowerCase()
      expect(await shown()).toContain(first)
      const second = await mountCertificate('..second')
      await expect.poll(shown, { timeout: 15_000 }).toContain(second)
      expect(await shown()).not.toContain(first)
    } finally {
      await running.child.stop()
    }
  })
})
