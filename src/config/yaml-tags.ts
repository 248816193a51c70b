import { isMap, isScalar } from 'yaml'
import type { ErrorCode, Scalar, ScalarTag, YAMLMap, YAMLSeq } from 'yaml'
import { shorten } from './faults.js'
import { fittingTag, noTag } from './yaml-syntax.js'

/** What fits a tag of a scalar, by the tag as it is written, as `!!int`. */
export type ScalarTags = Readonly<Record<string, (text: string) => boolean>>

/** Which tags are taken. */
export interface Tags {
  /** For the library, which would refuse them or what fits them. */
  readonly custom: readonly ScalarTag[]
  /** Undefined where there is none or it is taken. */
  problemOf(node: Scalar | YAMLMap | YAMLSeq): TagProblem | undefined
}

interface TagProblem {
  readonly value: string
  readonly expected: string
  /** What is made of what is taken nevertheless. */
  readonly holds?: string
}

/** What the library warns with of a tag. */
export const tagCodes: readonly ErrorCode[] = ['TAG_RESOLVE_FAILED', 'BAD_COLLECTION_TYPE']

const yamlTag = 'tag:yaml.org,2002:'
const tagsOfYaml: ReadonlySet<string> = new Set(
  ['str', 'int', 'float', 'bool', 'null', 'map', 'seq'].map((name) => yamlTag + name),
)

/** A tag may be a secret in the wrong place, so that none is shown here. */
export const noTags: Tags = {
  custom: [],
  problemOf: ({ tag }) => (tag === undefined ? undefined : { value: 'tagged', expected: noTag }),
}

/**
 * Those of what YAML is made of, as `!!str`, and those of `scalarTags`.
 *
 * @param asGo others too, as Go's yaml.v2 takes them: to a scalar they are `!!str`, to all else nothing
 */
export function createTags(scalarTags: ScalarTags = {}, asGo = false): Tags {
  const fitting = new Map(
    Object.entries(scalarTags).map(([tag, fits]) => [tag.replace('!!', yamlTag), fits]),
  )

  function expectedAt(node: Scalar | YAMLMap | YAMLSeq, tag: string): string | undefined {
    const fits = fitting.get(tag)
    if (fits !== undefined && isScalar(node)) {
      return fits(node.source ?? '') ? undefined : fittingTag
    }
    const isKnown = asGo ? fittingTagsOf(node).includes(tag) : tagsOfYaml.has(tag)
    return isKnown ? undefined : noTag
  }

  function holdsAt(node: Scalar | YAMLMap | YAMLSeq, tag: string): string | undefined {
    if (!asGo || (isScalar(node) && fitting.has(tag))) return undefined
    return isScalar(node) ? 'read as text' : 'no effect'
  }

  return {
    // Their values are of no use, but that a key with one is refused as no text.
    custom: [...fitting.keys()].map((tag) => ({ tag, default: false, resolve: () => null })),
    problemOf(node) {
      const { tag } = node
      const expected = tag === undefined ? undefined : expectedAt(node, tag)
      if (tag === undefined || expected === undefined) return undefined
      const value = shorten(`tagged ${tag.replace(yamlTag, '!!')}`)
      const holds = holdsAt(node, tag)
      return { value, expected, ...(holds === undefined ? {} : { holds }) }
    },
  }
}

function fittingTagsOf(node: Scalar | YAMLMap | YAMLSeq): readonly string[] {
  if (!isScalar(node)) return [yamlTag + (isMap(node) ? 'map' : 'seq')]
  return node.source === '<<' ? [`${yamlTag}str`, `${yamlTag}merge`] : [`${yamlTag}str`]
}
