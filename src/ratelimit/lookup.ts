import { matches } from './pattern.js'
import type { Looks } from './pattern.js'
import type { Descriptor, Entry, Match, RateLimit } from './rule.js'
import { compositeKey } from './tree.js'
import type { Level, Node, PatternNode, RateLimitConfig } from './tree.js'

/**
 * Bounds of one call. A client can make a value as long as its headers may be (60 KiB, by Envoy's default), and Envoy
 * may let a call pass that is refused: so no client reaches the last one. It is what Go's gRPC takes as one message.
 */
export const callBounds = { descriptors: 128, entries: 512, characters: 4_194_304 } as const

/**
 * Characters of values that patterns with a text between two stars may look at in one call: those of 64 KiB for each of
 * 32, so that one level with one value always fits (20 ms at worst, measured). A client reaches it where the same header
 * is held against more of them, at several levels or under several keys.
 */
export const maxLooks = 2_097_152

/** What of a call is beyond its bounds, as a sentence; undefined if nothing is. */
export function beyondBounds(descriptors: readonly Descriptor[]): string | undefined {
  if (descriptors.length > callBounds.descriptors) {
    return `a call has at most ${String(callBounds.descriptors)} descriptors`
  }
  let entryCount = 0
  let characters = 0
  for (const { entries } of descriptors) {
    entryCount += entries.length
    for (const { key, value } of entries) characters += key.length + value.length
  }
  if (entryCount > callBounds.entries) {
    return `the descriptors of a call have at most ${String(callBounds.entries)} entries together`
  }
  if (characters > callBounds.characters) {
    return `the entries of a call have at most ${String(callBounds.characters)} characters together`
  }
  return undefined
}

/**
 * The rules of all descriptors of a call, one to one; undefined where none holds: there is none, or another rule of
 * the call replaces it. A rule that counts nothing (`unlimited`) replaces others, but none replaces it.
 *
 * @returns undefined where `looks` are too few
 */
export function lookUpAll(
  config: RateLimitConfig,
  domain: string,
  descriptors: readonly Descriptor[],
  looks: Looks = { left: maxLooks },
): readonly (Match | undefined)[] | undefined {
  const search: Search = { looks, known: new Map() }
  const found = descriptors.map((descriptor) => lookUpOne(config, domain, descriptor, search))
  if (looks.left < 0) return undefined
  const replaced = new Set(found.flatMap((match) => match?.rule.replaces ?? []))
  return found.map((match) => {
    if (match?.rule.limit === undefined || match.rule.name === '') return match
    return replaced.has(match.rule.name) ? undefined : match
  })
}

/** What one call has looked for. */
interface Search {
  readonly looks: Looks
  /** Which pattern of a level matches what: one header often stands in many descriptors, and is looked at once. */
  readonly known: Map<Level, Map<string, PatternNode | undefined>>
}

function lookUpOne(
  config: RateLimitConfig,
  domain: string,
  { entries, limit }: Descriptor,
  search: Search,
): Match | undefined {
  const tree = config.domains.get(domain)
  if (tree === undefined) return undefined
  if (limit !== undefined) return broughtAlong(domain, entries, limit)
  const steps = walk(tree, entries, search)
  const last = steps?.at(-1)
  if (steps === undefined || last?.node.rule === undefined) return undefined
  return {
    rule: last.node.rule,
    counted: steps.map(countedEntry),
    metricKey: metricKeyOf(domain, steps, last.node.detailedMetric),
  }
}

/** A limit that the request brings takes the place of all that a file says of its descriptor, but for the domain. */
function broughtAlong(domain: string, entries: readonly Entry[], limit: RateLimit): Match {
  const parts = entries.map(({ key, value }) => compositeKey(key, value))
  return {
    rule: {
      name: '',
      limit,
      replaces: [],
      shadowMode: false,
      quotaMode: false,
      metadata: undefined,
    },
    counted: entries,
    metricKey: [domain, ...parts].join('.'),
  }
}

/** One entry of a request, and what a file says of it. */
interface Step {
  readonly entry: Entry
  readonly node: Node
  /** How it was found: the same value, a pattern, or no value in the file. */
  readonly by: 'value' | 'pattern' | 'key'
  /** Of the pattern that matched, what stands in the place of the value. */
  readonly patternValue: string
}

/** The way through the file that the entries take; undefined where it does not reach to the last of them. */
function walk(tree: Level, entries: readonly Entry[], search: Search): readonly Step[] | undefined {
  const steps: Step[] = []
  let level = tree
  for (const entry of entries) {
    const step = find(level, entry, search)
    if (step === undefined) return undefined
    steps.push(step)
    level = step.node.next
  }
  return steps
}

function find(level: Level, entry: Entry, search: Search): Step | undefined {
  const { nodes } = level
  // With the `_` also where the value is empty, as envoyproxy/ratelimit asks.
  const written = `${entry.key}_${entry.value}`
  const same = nodes.get(written)
  if (same !== undefined) return { entry, node: same, by: 'value', patternValue: '' }
  const matching = firstMatching(level, written, search)
  if (matching !== undefined) {
    const { text } = matching.pattern
    const start = `${entry.key}_`
    // A pattern with the star in its key stands as a whole for the value.
    const patternValue = text.startsWith(start) ? text.slice(start.length) : text
    return { entry, node: matching.node, by: 'pattern', patternValue }
  }
  const any = nodes.get(entry.key)
  return any && { entry, node: any, by: 'key', patternValue: '' }
}

function firstMatching(
  level: Level,
  written: string,
  { looks, known }: Search,
): PatternNode | undefined {
  if (level.patterns.length === 0) return undefined
  let ofLevel = known.get(level)
  if (ofLevel === undefined) {
    ofLevel = new Map()
    known.set(level, ofLevel)
  }
  if (!ofLevel.has(written)) {
    const matching = level.patterns.find(({ pattern }) => matches(pattern, written, looks))
    ofLevel.set(written, matching)
  }
  return ofLevel.get(written)
}

function isShared({ by, node }: Step): boolean {
  return by === 'pattern' && node.shareThreshold
}

function countedEntry(step: Step): Entry {
  return isShared(step) ? { key: step.entry.key, value: step.patternValue } : step.entry
}

function metricKeyOf(domain: string, steps: readonly Step[], isDetailed: boolean): string {
  const parts = isDetailed ? detailedParts(steps) : steps.map(metricPart)
  return [domain, ...parts].join('.')
}

/** Every value of the request, except where values count together. */
function detailedParts(steps: readonly Step[]): readonly string[] {
  if (!steps.some(isShared)) return steps.map(({ entry }) => `${entry.key}_${entry.value}`)
  return steps.map(countedEntry).map(({ key, value }) => compositeKey(key, value))
}

function metricPart(step: Step): string {
  const { entry, node, by, patternValue } = step
  switch (by) {
    case 'value':
      return compositeKey(entry.key, entry.value)
    case 'pattern': {
      const isOwnValue = node.valueToMetric && !node.shareThreshold
      return compositeKey(entry.key, isOwnValue ? entry.value : patternValue)
    }
    case 'key':
      return compositeKey(entry.key, node.valueToMetric ? entry.value : '')
  }
}
