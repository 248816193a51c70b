import { isMap, isScalar, isSeq } from 'yaml'

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

/** The node that an alias names; any other is itself. */
export type Follow = (node: unknown) => unknown

export const tooLarge = Symbol('more than maxValues values')

type Earlier = ReadonlyMap<string, readonly unknown[]>

const none: Earlier = new Map()
const earlierByMapping = new WeakMap<object, Map<string, unknown[]>>()

/** Values that a mapping of `plainValue` had, in their order, for keys that it gives again: the last is in the mapping. */
export function earlierOf(mapping: object): Earlier {
  return earlierByMapping.get(mapping) ?? none
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
    if (isMap(node)) {
      const object = Object.create(null) as Record<string, unknown>
      for (const pair of node.items) {
        if (!isScalar(pair.key) || typeof pair.key.value !== 'string') continue
        const value = convert(pair.value, depth + 1)
        if (value === tooLarge) return tooLarge
        const key = pair.key.value
        if (Object.hasOwn(object, key)) rememberEarlier(object, key, object[key])
        object[key] = value
      }
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

function rememberEarlier(mapping: object, key: string, value: unknown): void {
  const keys = earlierByMapping.get(mapping) ?? new Map<string, unknown[]>()
  earlierByMapping.set(mapping, keys)
  const values = keys.get(key)
  if (values === undefined) keys.set(key, [value])
  else values.push(value)
}
