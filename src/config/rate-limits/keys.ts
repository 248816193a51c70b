import type { KeyPath } from '../faults.js'
import { nearest } from '../nearest.js'
import { isMapping } from '../partly.js'
import { isPlainScalar } from './scalars.js'
import { oneOf } from '../values.js'

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

/**
 * What is wrong with a key; undefined if nothing is. envoyproxy/ratelimit passes over a known key in a wrong place, so
 * that a limit holds which nobody wrote.
 */
export function unknownKey(
  key: string,
  place: KeyPlace,
  given: readonly string[],
): { readonly what: string; readonly expected: string } | undefined {
  const known: readonly string[] = keyPlaces[place]
  if (known.includes(key)) return undefined
  const home = (Object.keys(keyPlaces) as readonly KeyPlace[]).find((other) =>
    (keyPlaces[other] as readonly string[]).includes(key),
  )
  const expected = oneOf(known)
  if (home !== undefined) return { what: `a key of ${placeNames[home]}`, expected }
  const meant = nearest(
    key,
    known.filter((word) => !given.includes(word)),
  )
  return {
    what: meant === undefined ? 'an unknown key' : `an unknown key (did you mean ${meant}?)`,
    expected,
  }
}

/** One key of a mapping: its value, and where it stands, which may be another mapping that was merged. */
export interface Member {
  readonly value: unknown
  readonly at: KeyPath
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
      if (key !== '<<' && !members.has(key)) members.set(key, { value, at: [...where, key] })
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
