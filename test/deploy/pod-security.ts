import { containersOf } from './workload.js'
import type { PodSpec } from './workload.js'

const allowedVolumes = [
  'configMap',
  'csi',
  'downwardAPI',
  'emptyDir',
  'ephemeral',
  'persistentVolumeClaim',
  'projected',
  'secret',
]

/**
 * What of a pod breaks the Pod Security Standard `restricted`, and what this project asks beyond it: a user above
 * 10000, volumes of its own group, a read-only root, no credential of the Kubernetes API, resources, an image with a
 * version.
 *
 * @see https://kubernetes.io/docs/concepts/security/pod-security-standards/
 */
export function podSecurityFaults(pod: PodSpec): readonly string[] {
  const faults: string[] = []
  const require = (holds: boolean, fault: string): void => {
    if (!holds) faults.push(fault)
  }
  for (const field of ['hostNetwork', 'hostPID', 'hostIPC']) require(pod[field] !== true, field)
  for (const { name, ...kinds } of pod.volumes ?? []) {
    require(Object.keys(kinds).every((kind) =>
      allowedVolumes.includes(kind),
    ), `volume ${name}: ${Object.keys(kinds).join(', ')}`)
  }
  require(pod.automountServiceAccountToken === false, 'automountServiceAccountToken')
  require(pod.enableServiceLinks === false, 'enableServiceLinks')
  require(pod.serviceAccountName !== undefined &&
    pod.serviceAccountName !== 'default', 'serviceAccountName')

  for (const container of containersOf(pod)) {
    // A container's own setting wins over the pod's.
    const effective: Readonly<Record<string, unknown>> = {
      ...pod.securityContext,
      ...container.securityContext,
    }
    const own = (what: string): string => `${container.name}: ${what}`
    require(effective['runAsNonRoot'] === true, own('runAsNonRoot'))
    for (const id of ['runAsUser', 'runAsGroup']) require(Number(effective[id]) > 10000, own(id))
    // The files of Secrets are root's, and others cannot read them (0440): that leaves their group, which is fsGroup.
    require(pod.securityContext?.['fsGroup'] === effective['runAsGroup'], own('fsGroup'))
    require(effective['privileged'] !== true, own('privileged'))
    require(effective['allowPrivilegeEscalation'] === false, own('allowPrivilegeEscalation'))
    require(effective['readOnlyRootFilesystem'] === true, own('readOnlyRootFilesystem'))
    const { drop = [], add = [] } = (effective['capabilities'] ?? {}) as {
      drop?: string[]
      add?: string[]
    }
    require(drop.includes('ALL') && add.length === 0, own('capabilities'))
    const seccomp = effective['seccompProfile'] as { type?: string } | undefined
    require(seccomp?.type === 'RuntimeDefault', own('seccompProfile'))
    for (const port of container.ports ?? []) require(!('hostPort' in port), own('hostPort'))
    const { requests = {}, limits = {} } = container.resources ?? {}
    for (const resource of ['memory', 'ephemeral-storage']) {
      require(resource in requests && resource in limits, own(resource))
    }
    require('cpu' in requests, own('cpu'))
    require(/:v?\d+\.\d+\.\d+(@sha256:[0-9a-f]{64})?$/.test(container.image), own('image'))
  }
  return faults
}
