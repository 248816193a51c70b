import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import Ajv from 'ajv'
import type { KubernetesObject } from './kustomization.js'
import { repository } from './kustomization.js'

const schemas = join(
  repository,
  '.deps',
  'kubernetes',
  'kubernetes_validate',
  'kubernetes-json-schema',
)

/** Says what is wrong with an object; nothing when it is right. */
export type Validate = (object: KubernetesObject) => readonly string[]

/**
 * Checks objects against the strict schemas of one Kubernetes release: an unknown field is a fault.
 *
 * @param release as `1.37`
 * @throws Error the schemas are not there
 */
export function kubernetesValidator(release: string): Validate {
  const directory = join(schemas, `v${release}.0-local-strict`)
  if (!existsSync(directory)) {
    throw new Error(
      `no schemas of Kubernetes ${release} in .deps/: run \`make test\`, which fetches them`,
    )
  }
  const ajv = new Ajv({
    allErrors: true,
    schemaId: 'auto',
    unknownFormats: 'ignore',
    // It would say so of every format.
    logger: false,
    meta: false,
    validateSchema: false,
  })
  ajv.addSchema(readSchema(directory, '_definitions.json'))
  return (object) => {
    const name = schemaName(object)
    if (!existsSync(join(directory, name)))
      return [`no such kind: ${object.apiVersion} ${object.kind}`]
    const schema = readSchema(directory, name)
    const validate = ajv.getSchema(schema['$id'] as string) ?? ajv.compile(schema)
    if (validate(object) === true) return []
    return (validate.errors ?? []).map(({ dataPath, message, params }) =>
      `${dataPath} ${message ?? 'is wrong'} ${JSON.stringify(params)}`.trim(),
    )
  }
}

/** `apps/v1` StatefulSet is in statefulset-apps-v1.json, `networking.k8s.io/v1` in networkpolicy-networking-v1.json. */
function schemaName({ apiVersion, kind }: KubernetesObject): string {
  const version = apiVersion.replace(/^([^./]*)(?:\.[^/]*)?\//, '$1-')
  return `${kind.toLowerCase()}-${version}.json`
}

function readSchema(directory: string, name: string): Record<string, unknown> {
  const schema = JSON.parse(readFileSync(join(directory, name), 'utf8')) as Record<string, unknown>
  // The validator knows an older draft; the schemas use nothing that differs between the two.
  delete schema['$schema']
  return schema
}
