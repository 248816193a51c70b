import type { KeyPath } from '../faults.js'
import { nearest } from '../nearest.js'
import { isMapping } from '../partly.js'
import { isPlainScalar } from './scalars.js'
import { oneOf } from '../values.js'
import { givenOf } from '../yaml-values.js'

/** The keys of a rate limit file, by what holds them. */
export const keyPlaces = {
  file: ['domain', 'descriptors'],
  descriptor: [
    'key',
    'value',
    'rate_limit',
    'descriptors',
    'shadow_mode',
    'quota_mode',
    'detailed_metric',
    'value_to_metric',
    'share_threshold',
    'metadata',
  ],
  rate_limit: ['unit', 'requests_per_unit', 'unlimited', 'name', 'replaces'],
  replaces: ['name'],
} as const satisfies Readonly<Record<string, readonly string[]>>

export type KeyPlace = keyof typeof keyPlaces

const placeNames: Readonly<Record<KeyPlace, string>> = {
  file: 'the file itself',
  descriptor: 'a descriptor',
  rate_limit: 'rate_limit',
  replaces: 'replaces',
}

/** Where a key belongs; undefined where it is not known. */
export function homeOf(key: string): KeyPlace | undefined {
  return (Object.keys(keyPlaces) as readonly KeyPlace[]).find((place) =>
    (keyPlaces[place] as readonly string[]).includes(key),
  )
}

export interface WrongKey {
  readonly what: string
  readonly expected: string
  /** envoyproxy/ratelimit passes over a known key in a wrong place. */
  readonly isMisplaced: boolean
}

/** What is wrong with a key; undefined if nothing is. */
export function wrongKey(
  key: string,
  place: KeyPlace,
  given: readonly string[],
): WrongKey | undefined {
  const known: readonly string[] = keyPlaces[place]
  if (known.includes(key)) return undefined
  const home = homeOf(key)
  const expected = oneOf(known)
  if (home !== undefined) {
    return { what: `a key of ${placeNames[home]}`, expected, isMisplaced: true }
  }
  const meant = nearest(
    key,
    known.filter((word) => !given.includes(word)),
  )
  return {
    what: meant === undefined ? 'an unknown key' : `an unknown key (did you mean ${meant}?)`,
    expected,
    isMisplaced: false,
  }
}

/** A value, and where it stands, which may be in another mapping that was merged. */
export interface Said {
  readonly value: unknown
  readonly at: KeyPath
}

/** One key of a mapping. */
export interface Member extends Said {
  /** What is said of it before: in that order. */
  readonly earlier: readonly Said[]
  /** The same mapping says it before, or one that merges this one: by YAML's own rules that would be the one that holds. */
  readonly isRepeat: boolean
}

/**
 * The keys of a mapping, and of those that it merges (`<<`): in the order in which they stand, as Go's yaml.v2 goes, the
 * last one holds. Of a list that is merged the first one goes last.
 *
 * @param refuse is told of a `<<` that names no mapping
 */
export function membersOf(
  mapping: Readonly<Record<string, unknown>>,
  at: KeyPath,
  refuse: (at: KeyPath) => void,
): ReadonlyMap<string, Member> {
  const members = new Map<string, Member & { readonly earlier: Said[] }>()
  /** In how many mappings a key was given, of that which is read and those that merge it. */
  const around = new Map<string, number>()
  const add = (from: Readonly<Record<string, unknown>>, where: KeyPath): void => {
    const own = new Set<string>()
    for (const { key, value, part, isMerge } of givenOf(from)) {
      const there = [...where, part]
      if (isMerge) {
        merge(value, there)
        continue
      }
      const before = members.get(key)
      const earlier = before?.earlier ?? []
      if (before !== undefined) earlier.push({ value: before.value, at: before.at })
      const count = around.get(key) ?? 0
      members.set(key, { value, at: there, earlier, isRepeat: count > 0 })
      if (own.has(key)) continue
      own.add(key)
      around.set(key, count + 1)
    }
    for (const key of own) around.set(key, (around.get(key) ?? 0) - 1)
  }
  const merge = (merged: unknown, where: KeyPath): void => {
    const items = Array.isArray(merged)
      ? (merged as readonly unknown[]).map((item, index) => ({ item, there: [...where, index] }))
      : [{ item: merged, there: where }]
    for (const { item, there } of items.reverse()) {
      if (isMapping(item) && !isPlainScalar(item)) add(item, there)
      else refuse(there)
    }
  }
  add(mapping, at)
  return members
}
