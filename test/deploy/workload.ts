import type { KubernetesObject, Rendered } from './kustomization.js'

type Labels = Readonly<Record<string, string>>

export interface Port {
  readonly name?: string
  readonly containerPort: number
  readonly protocol?: string
}

export interface Probe {
  readonly httpGet?: {
    readonly path: string
    readonly port: string | number
    readonly host?: string
  }
  readonly tcpSocket?: { readonly port: string | number }
  readonly exec?: { readonly command: readonly string[] }
  readonly terminationGracePeriodSeconds?: number
}

export interface Container {
  readonly name: string
  readonly image: string
  readonly command?: readonly string[]
  readonly args?: readonly string[]
  readonly env?: readonly {
    readonly name: string
    readonly value?: string
    readonly valueFrom?: unknown
  }[]
  readonly envFrom?: readonly unknown[]
  readonly ports?: readonly Port[]
  readonly restartPolicy?: string
  readonly lifecycle?: {
    readonly preStop?: {
      readonly exec?: { readonly command: readonly string[] }
      readonly sleep?: { readonly seconds: number }
    }
  }
  readonly startupProbe?: Probe
  readonly readinessProbe?: Probe
  readonly livenessProbe?: Probe
  readonly resources?: {
    readonly requests?: Readonly<Record<string, string>>
    readonly limits?: Readonly<Record<string, string>>
  }
  readonly securityContext?: Readonly<Record<string, unknown>>
  readonly volumeMounts?: readonly {
    readonly name: string
    readonly mountPath: string
    readonly subPath?: string
    readonly readOnly?: boolean
  }[]
}

export interface Volume {
  readonly name: string
  readonly configMap?: { readonly name: string }
  readonly secret?: { readonly secretName: string; readonly defaultMode?: number }
  readonly projected?: {
    readonly defaultMode?: number
    readonly sources: readonly {
      readonly secret?: { readonly name: string }
      readonly configMap?: { readonly name: string }
    }[]
  }
  readonly emptyDir?: { readonly medium?: string; readonly sizeLimit?: string }
  readonly persistentVolumeClaim?: { readonly claimName: string }
  readonly [kind: string]: unknown
}

export interface PodSpec {
  readonly serviceAccountName?: string
  readonly automountServiceAccountToken?: boolean
  readonly enableServiceLinks?: boolean
  readonly terminationGracePeriodSeconds?: number
  readonly securityContext?: Readonly<Record<string, unknown>>
  readonly initContainers?: readonly Container[]
  readonly containers: readonly Container[]
  readonly volumes?: readonly Volume[]
  readonly [field: string]: unknown
}

/** A Deployment or StatefulSet, with what is looked at of it. */
export interface Workload {
  readonly kind: string
  readonly name: string
  readonly namespace: string
  readonly replicas: number
  readonly selector: Labels
  readonly labels: Labels
  readonly pod: PodSpec
  readonly claims: readonly string[]
}

interface WorkloadSpec {
  readonly replicas?: number
  readonly selector: { readonly matchLabels: Labels }
  readonly template: { readonly metadata: { readonly labels: Labels }; readonly spec: PodSpec }
  readonly volumeClaimTemplates?: readonly { readonly metadata: { readonly name: string } }[]
}

const workloadKinds = ['Deployment', 'StatefulSet']

export function workloadsOf({ objects }: Rendered): readonly Workload[] {
  return objects.filter(({ kind }) => workloadKinds.includes(kind)).map(toWorkload)
}

function toWorkload({ kind, metadata, spec }: KubernetesObject): Workload {
  const { replicas = 1, selector, template, volumeClaimTemplates = [] } = spec as WorkloadSpec
  return {
    kind,
    name: metadata.name,
    namespace: metadata.namespace ?? 'default',
    replicas,
    selector: selector.matchLabels,
    labels: template.metadata.labels,
    pod: template.spec,
    claims: volumeClaimTemplates.map((claim) => claim.metadata.name),
  }
}

export function containersOf({ initContainers = [], containers }: PodSpec): readonly Container[] {
  return [...initContainers, ...containers]
}

export function probesOf({ startupProbe, readinessProbe, livenessProbe }: Container) {
  return { startupProbe, readinessProbe, livenessProbe }
}

/** The value of an argument, written as `--name=value` or as two. */
export function argument(container: Container, name: string): string | undefined {
  const args = container.args ?? []
  const joined = args.find((arg) => arg.startsWith(`${name}=`))
  if (joined !== undefined) return joined.slice(name.length + 1)
  const at = args.indexOf(name)
  return at === -1 ? undefined : args[at + 1]
}

/** Bytes of a quantity, as `512Mi`. @throws Error another unit */
export function quantityBytes(quantity: string): number {
  const [, digits, unit] = /^(\d+)(Ki|Mi|Gi)$/.exec(quantity) ?? []
  if (digits === undefined) throw new Error(`${quantity} is no size in Ki, Mi or Gi`)
  return Number(digits) * 1024 ** (unit === 'Ki' ? 1 : unit === 'Mi' ? 2 : 3)
}

/** The one of that name. @throws Error there is none */
export function named<Thing extends { readonly name: string }>(
  things: readonly Thing[],
  name: string,
): Thing {
  const thing = things.find((candidate) => candidate.name === name)
  if (thing === undefined) throw new Error(`no ${name}`)
  return thing
}
