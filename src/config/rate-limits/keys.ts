import type { KeyPath } from '../faults.js'
import { nearest } from '../nearest.js'
import { isMapping } from '../partly.js'
import { isPlainScalar } from './scalars.js'
import { oneOf } from '../values.js'
import { earlierOf } from '../yaml-values.js'

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

/** One key of a mapping: its value, and where it stands, which may be another mapping that was merged. */
export interface Member {
  readonly value: unknown
  readonly at: KeyPath
  /** What the same mapping says of it before, where it is given again: in that order. */
  readonly earlier: readonly Omit<Member, 'earlier'>[]
}

/**
 * The keys of a mapping, and of those that it merges (`<<`), of which its own and earlier ones win.
 *
 * @param refuse is told of a `<<` that names no mapping
 */
export function membersOf(
  mapping: Readonly<Record<string, unknown>>,
  at: KeyPath,
  refuse: (at: KeyPath) => void,
): ReadonlyMap<string, Member> {
  const members = new Map<string, Member>()
  const add = (from: Readonly<Record<string, unknown>>, where: KeyPath): void => {
    for (const [key, value] of Object.entries(from)) {
      if (key === '<<' || members.has(key)) continue
      const before = earlierOf(from).get(key) ?? []
      const earlier = before.map((each, index) => ({
        value: each,
        at: [...where, { key, earlier: index }],
      }))
      members.set(key, { value, at: [...where, key], earlier })
    }
    if (Object.hasOwn(from, '<<')) merge(from['<<'], [...where, '<<'])
  }
  const merge = (merged: unknown, where: KeyPath): void => {
    const isList = Array.isArray(merged)
    for (const [index, item] of (isList ? (merged as readonly unknown[]) : [merged]).entries()) {
      const there = isList ? [...where, index] : where
      if (isMapping(item) && !isPlainScalar(item)) add(item, there)
      else refuse(there)
    }
  }
  add(mapping, at)
  return members
}
