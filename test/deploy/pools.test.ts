import { describe, expect, test } from 'vitest'
import {
  addressOf,
  clusters,
  longestStreamSeconds,
  mountOf,
  policy,
  rendered,
  workloads,
} from './gateway.js'
import { argument, named, probesOf } from './workload.js'

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

  test('has no address of its own: the name resolves to every ready engine', () => {
    const [service] = rendered.objects.filter(
      ({ kind, metadata }) => kind === 'Service' && metadata.name === pool,
    )
    expect(service?.spec).toEqual({
      clusterIP: 'None',
      selector: { 'app.kubernetes.io/name': pool },
      ports: [{ name: 'engine', port: 8443, targetPort: 'engine' }],
    })
    expect(named(clusters, pool).type).toBe('STRICT_DNS')
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

  test('takes up a renewed certificate without a restart', () => {
    expect(container.args).toContain('--enable-ssl-refresh')
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

  test('is there once its port is open, and is asked by TCP alone: the kubelet has no client certificate', () => {
    expect(probesOf(container)).toEqual({
      startupProbe: { tcpSocket: { port: 'engine' }, periodSeconds: 5, failureThreshold: 360 },
      readinessProbe: { tcpSocket: { port: 'engine' }, periodSeconds: 10, timeoutSeconds: 5 },
    })
  })

  test('goes on for as long as Envoy may still send to it, and then finishes its streams', () => {
    expect(container.lifecycle).toEqual({ preStop: { sleep: { seconds: 15 } } })
    const shutdownSeconds = Number(argument(container, '--shutdown-timeout'))
    expect(shutdownSeconds).toBeGreaterThanOrEqual(longestStreamSeconds)
    expect(engine.pod.terminationGracePeriodSeconds).toBeGreaterThanOrEqual(
      15 + shutdownSeconds + 10,
    )
  })
})
