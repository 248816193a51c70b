import { readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parse, parseAllDocuments } from 'yaml'

export const repository = fileURLToPath(new URL('../..', import.meta.url))

/** A Kubernetes object as written. */
export interface KubernetesObject {
  readonly apiVersion: string
  readonly kind: string
  readonly metadata: {
    readonly name: string
    readonly namespace?: string
    readonly labels?: Readonly<Record<string, string>>
  }
  readonly spec?: unknown
  readonly [field: string]: unknown
}

/** A ConfigMap made of files: where each of its keys comes from, relative to the repository. */
export interface GeneratedConfigMap {
  readonly name: string
  readonly namespace: string
  readonly files: ReadonlyMap<string, string>
  readonly hasContentHash: boolean
}

export interface Rendered {
  readonly objects: readonly KubernetesObject[]
  readonly configMaps: readonly GeneratedConfigMap[]
}

interface Kustomization {
  readonly apiVersion: string
  readonly kind: string
  readonly resources: readonly string[]
  readonly configMapGenerator?: readonly {
    readonly name: string
    readonly namespace: string
    readonly files: readonly string[]
    readonly options?: { readonly disableNameSuffixHash?: boolean }
  }[]
}

const knownFields = new Set(['apiVersion', 'kind', 'resources', 'configMapGenerator'])

/**
 * What `kubectl apply -k` would send, of the little of kustomize that is used here; names without the hash.
 *
 * @param directory relative to the repository
 * @throws Error a field that is not understood, a file that is missing, or one above its kustomization
 */
export function renderKustomization(directory: string): Rendered {
  const file = join(directory, 'kustomization.yaml')
  const kustomization = parse(readText(file)) as Kustomization
  const unknown = Object.keys(kustomization).filter((field) => !knownFields.has(field))
  if (unknown.length > 0)
    throw new Error(`${file} has fields that are not understood: ${unknown.join(', ')}`)

  const parts = kustomization.resources.map((resource) => {
    refuseAbove(file, resource)
    return resource.endsWith('.yaml')
      ? { objects: readObjects(join(directory, resource)), configMaps: [] }
      : renderKustomization(join(directory, resource))
  })
  const own = (kustomization.configMapGenerator ?? []).map((generator) => ({
    name: generator.name,
    namespace: generator.namespace,
    hasContentHash: generator.options?.disableNameSuffixHash !== true,
    files: new Map(
      generator.files.map((path) => {
        refuseAbove(file, path)
        readText(join(directory, path))
        return [basename(path), join(directory, path)]
      }),
    ),
  }))
  return {
    objects: parts.flatMap(({ objects }) => objects),
    configMaps: [...parts.flatMap(({ configMaps }) => configMaps), ...own],
  }
}

/** Every object of a file; the octal numbers of YAML 1.1, which kubectl reads, are none here, so they are refused. */
export function readObjects(path: string): readonly KubernetesObject[] {
  const text = readText(path)
  if (/: 0[0-7]+\b/.test(text)) throw new Error(`${path}: an octal number means two things`)
  return parseAllDocuments(text).map((document) => {
    const [error] = document.errors
    if (error !== undefined) throw error
    return document.toJS() as KubernetesObject
  })
}

/** kustomize does not read above its own directory. */
function refuseAbove(file: string, path: string): void {
  if (path.split('/').includes('..')) throw new Error(`${file} names a file above it: ${path}`)
}

function readText(path: string): string {
  return readFileSync(join(repository, path), 'utf8')
}
