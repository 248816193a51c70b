import type { Dialect } from './dialect.js'
import { anthropic } from './dialects/anthropic.js'
import { openai } from './dialects/openai.js'

/**
 * Every request format that Tollgate can read. What is not among them is refused. A new one is one file and one
 * line; a caller whose dialect is not known is answered in that of the first.
 */
export const dialects: readonly [Dialect, ...Dialect[]] = [openai, anthropic]

const byName = new Map(dialects.map((dialect) => [dialect.name, dialect] as const))

const byPath = new Map(
  dialects.flatMap((dialect) => dialect.paths.map((path) => [path, dialect] as const)),
)

/** @param path exact and normalised, without query */
export function dialectForPath(path: string): Dialect | undefined {
  return byPath.get(path)
}

/** @param name as a reservation has it: another release may have made that, which knows others */
export function dialectIfKnown(name: string): Dialect | undefined {
  return byName.get(name)
}

/** @throws RangeError there is none of that name: it was not taken from a dialect */
export function dialectNamed(name: string): Dialect {
  const dialect = dialectIfKnown(name)
  if (dialect === undefined) throw new RangeError('no such dialect')
  return dialect
}
