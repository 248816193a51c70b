import { compilePattern, isPattern } from './pattern.js'
import type { Pattern } from './pattern.js'
import type { RateLimitRule } from './rule.js'

/** One file in which nothing is wrong. */
export interface RateLimitFile {
  readonly domain: string
  readonly descriptors: readonly FileDescriptor[]
}

/** A descriptor as a file writes it. */
export interface FileDescriptor {
  readonly key: string
  /** Empty: any value. */
  readonly value: string
  /** Undefined: its requests are let through and not counted. */
  readonly rule: RateLimitRule | undefined
  /** Its metrics carry the values of the request, of every entry. */
  readonly detailedMetric: boolean
  /** The metrics of rules from here on carry the value of this entry. */
  readonly valueToMetric: boolean
  /** All values that match its pattern count together. */
  readonly shareThreshold: boolean
  readonly descriptors: readonly FileDescriptor[]
}

/** All files together, to look up in. Plain data: it crosses from a worker thread. */
export interface RateLimitConfig {
  readonly domains: ReadonlyMap<string, Level>
}

/** The descriptors that may come next. */
export interface Level {
  /** By `key`, or `key_value`. */
  readonly nodes: ReadonlyMap<string, Node>
  /** Those of `nodes` that hold a `*`, in the order of the file. */
  readonly patterns: readonly PatternNode[]
}

export interface Node {
  readonly rule: RateLimitRule | undefined
  readonly detailedMetric: boolean
  readonly valueToMetric: boolean
  readonly shareThreshold: boolean
  readonly next: Level
}

export interface PatternNode {
  readonly pattern: Pattern
  readonly node: Node
}

/**
 * Bounds of one level: in the worst case a value of 60 KiB is held against all its patterns. Where a text stands between
 * two stars, that is another pass over the value; `maxLooks` bounds those of a call.
 */
const levelBounds = { patterns: 1000, patternsWithMiddle: 32 } as const

/** What of a level is beyond its bounds, as what would be right; undefined if nothing is. */
export function beyondLevel(composites: readonly string[]): string | undefined {
  const patterns = composites.filter(isPattern)
  if (patterns.length > levelBounds.patterns) {
    return `at most ${String(levelBounds.patterns)} patterns side by side`
  }
  const withMiddle = patterns.filter((text) => compilePattern(text).middle.length > 0)
  return withMiddle.length > levelBounds.patternsWithMiddle
    ? `at most ${String(levelBounds.patternsWithMiddle)} patterns side by side that have a text between two stars`
    : undefined
}

/**
 * What envoyproxy/ratelimit knows a descriptor by. It is not injective: key `a` with value `b_c` is key `a_b` with
 * value `c`, in files as in requests. Counters are not known by it.
 */
export function compositeKey(key: string, value: string): string {
  return value === '' ? key : `${key}_${value}`
}

/**
 * Files of one domain are one tree, in their order.
 *
 * @param files in which no level of a domain has a composite key twice
 */
export function buildConfig(files: readonly RateLimitFile[]): RateLimitConfig {
  const descriptors = new Map<string, FileDescriptor[]>()
  for (const file of files) {
    const those = descriptors.get(file.domain)
    if (those === undefined) descriptors.set(file.domain, [...file.descriptors])
    else for (const descriptor of file.descriptors) those.push(descriptor)
  }
  return {
    domains: new Map([...descriptors].map(([domain, those]) => [domain, levelOf(those)])),
  }
}

function levelOf(descriptors: readonly FileDescriptor[]): Level {
  const nodes = new Map<string, Node>()
  const patterns: PatternNode[] = []
  for (const descriptor of descriptors) {
    const { rule, detailedMetric, valueToMetric, shareThreshold } = descriptor
    const next = levelOf(descriptor.descriptors)
    const node = { rule, detailedMetric, valueToMetric, shareThreshold, next }
    const text = compositeKey(descriptor.key, descriptor.value)
    nodes.set(text, node)
    // The composite: a star in a key makes a pattern of both.
    if (isPattern(text)) patterns.push({ pattern: compilePattern(text), node })
  }
  return { nodes, patterns }
}
