import { isAlias, isMap, isScalar, isSeq } from 'yaml'
import type { Scalar } from 'yaml'
import type { EarlierKey } from './faults.js'

/** An alias costs two characters and unfolds to all that it names, so that a few lines can become gigabytes. */
export const maxValues = 200_000

export interface ReadScalar {
  /** By the rules of YAML 1.2. */
  readonly value: unknown
  /** As written, without quotes. */
  readonly source: string
  /** Without quotes, so that the rules decide what it is where it has no tag. */
  readonly isPlain: boolean
  /** As `tag:yaml.org,2002:str`, or `!`. */
  readonly tag: string | undefined
}

/** The node that an alias names, undefined if there is none; any other is itself. */
export type Follow = (node: unknown) => unknown

export const tooLarge = Symbol('more than maxValues values')

/** A key of a mapping and its value, as one of those that the mapping gives. */
export interface Given {
  readonly key: string
  readonly value: unknown
  readonly part: string | EarlierKey
  /** The key is YAML's `<<`, which in quotes is a key as any other. */
  readonly isMerge: boolean
}

const givenByMapping = new WeakMap<object, readonly Given[]>()

/**
 * What a mapping of `plainValue` gives, in that order where it matters: where there is a `<<`, or a key is given again, of
 * which the mapping itself has the last value.
 */
export function givenOf(mapping: Readonly<Record<string, unknown>>): readonly Given[] {
  return (
    givenByMapping.get(mapping) ??
    Object.entries(mapping).map(([key, value]) => ({ key, value, part: key, isMerge: false }))
  )
}

/** Own conversion: an object without prototype makes `__proto__` and `constructor` ordinary, unknown keys. */
export function plainValue(
  root: unknown,
  follow: Follow,
  scalarOf: (scalar: ReadScalar) => unknown,
): unknown {
  let count = 0
  function convert(unresolved: unknown, depth: number): unknown {
    count += 1
    // An anchor that holds an alias of itself has no end: the count finds it, or the depth before it.
    if (count > maxValues || depth > 256) return tooLarge
    const node = follow(unresolved)
    // An alias of nothing: a list is nothing that looks right where something else is wanted.
    if (node === undefined) return []
    if (isMap(node)) {
      const object = Object.create(null) as Record<string, unknown>
      const given: Omit<Given, 'part'>[] = []
      let isOrdered = false
      for (const pair of node.items) {
        if (!isScalar(pair.key) || typeof pair.key.value !== 'string') continue
        const value = convert(pair.value, depth + 1)
        if (value === tooLarge) return tooLarge
        const key = pair.key.value
        isOrdered ||= key === '<<' || Object.hasOwn(object, key)
        object[key] = value
        const isMerge = isMergeKey(pair.key)
        // Go's yaml.v2 merges a list, but not an alias of one.
        const isNoMerge = isMerge && isAlias(pair.value) && Array.isArray(value)
        given.push({ key, value: isNoMerge ? undefined : value, isMerge })
      }
      if (isOrdered) givenByMapping.set(object, withParts(given))
      return object
    }
    if (isSeq(node)) {
      const list: unknown[] = []
      for (const item of node.items) {
        const value = convert(item, depth + 1)
        if (value === tooLarge) return tooLarge
        list.push(value)
      }
      return list
    }
    if (!isScalar(node)) return scalarOf({ value: null, source: '', isPlain: true, tag: undefined })
    const { value, source = '', type, tag } = node
    return scalarOf({ value, source, isPlain: type === undefined || type === 'PLAIN', tag })
  }
  return convert(root, 0)
}

/** As Go's yaml.v2 sees it: a plain one, also with the tag `!`, which makes a quoted one plain. */
function isMergeKey({ value, type, tag }: Scalar): boolean {
  if (value !== '<<') return false
  if (tag === undefined) return type === undefined || type === 'PLAIN'
  return tag === '!' || tag === 'tag:yaml.org,2002:merge'
}

function withParts(given: readonly Omit<Given, 'part'>[]): readonly Given[] {
  const counts = new Map<string, number>()
  for (const { key } of given) counts.set(key, (counts.get(key) ?? 0) + 1)
  const seen = new Map<string, number>()
  return given.map((each) => {
    const earlier = seen.get(each.key) ?? 0
    seen.set(each.key, earlier + 1)
    const isLast = earlier + 1 === counts.get(each.key)
    return { ...each, part: isLast ? each.key : { key: each.key, earlier } }
  })
}
