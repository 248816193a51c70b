import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parse } from 'yaml'
import { readConfig } from '../../src/config/load.js'
import { renderKustomization, repository } from './kustomization.js'
import { containersOf, named, workloadsOf } from './workload.js'
import type { Container } from './workload.js'

// The parts of the deployment that must agree: the gateway's pod, its policy, envoy.yaml.

export const rendered = renderKustomization('.')
export const workloads = workloadsOf(rendered)
export const { pod, claims } = named(workloads, 'llm-gateway')
export const tollgate = named(containersOf(pod), 'tollgate')
export const envoy = named(containersOf(pod), 'envoy')

export const policyFile = join(repository, 'deploy', 'kubernetes', 'policy.yaml')
export const { policy, settings } = readConfig(policyFile)

interface Cluster {
  readonly name: string
  readonly type: string
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

export const envoyText = readFileSync(join(repository, 'envoy.yaml'), 'utf8')
export const { clusters } = (
  parse(envoyText) as { static_resources: { clusters: readonly Cluster[] } }
).static_resources

export function addressOf(cluster: string): EnvoyAddress {
  const endpoint = named(clusters, cluster).load_assignment.endpoints[0]?.lb_endpoints[0]?.endpoint
  if (endpoint === undefined) throw new Error(`${cluster} has no endpoint`)
  return endpoint.address
}

/** Every value of a key anywhere in envoy.yaml. */
export function valuesOf(key: string): readonly string[] {
  return [...envoyText.matchAll(new RegExp(`\\b${key}: ([^\\s,}]+)`, 'g'))].map(
    ([, value = '']) => value,
  )
}

/** What is mounted at the longest prefix of a path. */
export function mountOf(container: Container, path: string) {
  const mounts = (container.volumeMounts ?? []).filter(({ mountPath }) =>
    path.startsWith(`${mountPath}/`),
  )
  return mounts.sort((a, b) => b.mountPath.length - a.mountPath.length)[0]
}

const seconds = (durations: readonly string[]): readonly number[] =>
  durations.map((duration) => Number(/^(\d+)s$/.exec(duration)?.[1]))
export const longestStreamSeconds = Math.max(
  ...seconds(valuesOf('max_stream_duration').filter((value) => value !== '{')),
)
