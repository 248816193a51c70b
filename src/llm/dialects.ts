import type { DialectName } from './ask.js'
import type { Dialect } from './dialect.js'
import { anthropic } from './dialects/anthropic.js'
import { openai } from './dialects/openai.js'

const byName: Readonly<Record<DialectName, Dialect>> = { openai, anthropic }

/** Every request format that Tollgate can read. What is not among them is refused. */
export const dialects: readonly Dialect[] = Object.values(byName)

const byPath = new Map(
  dialects.flatMap((dialect) => dialect.paths.map((path) => [path, dialect] as const)),
)

/** @param path exact and normalised, without query */
export function dialectForPath(path: string): Dialect | undefined {
  return byPath.get(path)
}

export function dialectNamed(name: DialectName): Dialect {
  return byName[name]
}
