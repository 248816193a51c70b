import type { KeyPath } from '../faults.js'
import { isMapping } from '../partly.js'
import { oneOf } from '../values.js'
import { homeOf, keyPlaces, membersOf, wrongKey } from './keys.js'
import type { KeyPlace, Said } from './keys.js'
import { flagOf, isNothing, isPlainScalar, maxCount, roughCountOf, textOf } from './scalars.js'

// Values that have no effect, and faults all the same: envoyproxy/ratelimit reads each file twice, once into maps of which
// it knows the keys and the kinds of values, wherever they stand, and once into structs, where all that is given has to fit.

/** Takes a fault of a value that has no effect; `what` stands in the place of the value where it is one of a key. */
type SayUnread = (at: KeyPath, what: string | undefined, expected: string) => void

/** Says what is a fault also in a wrong place. */
export function refuseUnread({ value, at }: Said, say: SayUnread): void {
  if (Array.isArray(value)) {
    for (const [index, item] of (value as readonly unknown[]).entries()) {
      if (isGivenMapping(item)) refuseUnread({ value: item, at: [...at, index] }, say)
      else
        say([...at, index], undefined, 'a mapping, not a list or a value of another type than map')
    }
  } else if (isGivenMapping(value)) {
    const members = membersOf(value, at, (where) => {
      say(where, undefined, mergeExpected)
    })
    for (const [key, member] of members) {
      const wrong = homeOf(key) === undefined ? wrongKey(key, 'descriptor', []) : undefined
      if (wrong !== undefined) say(member.at, wrong.what, oneOf(everyKey))
      else if (key !== 'metadata') refuseUnread(member, say)
    }
  } else if (textOf(value) === undefined) {
    say(at, undefined, 'text, in quotes if it looks like a fraction')
  }
}

/** Of a `<<` that names no mapping. */
export const mergeExpected = 'a mapping, or a list of mappings that is no alias, to merge'

const everyKey = [...new Set(Object.values(keyPlaces).flat())]

export function isGivenMapping(value: unknown): value is Readonly<Record<string, unknown>> {
  return isMapping(value) && !isPlainScalar(value)
}

/** Would a value be read under this key? It is given again behind it, so that this is all there is to say. */
export function fitsKey(key: string, value: unknown): boolean {
  if (isNothing(value)) return true
  switch (key) {
    case 'rate_limit':
      return fitsPlace('rate_limit', value)
    case 'descriptors':
      return fitsList('descriptor', value)
    case 'replaces':
      return fitsList('replaces', value)
    case 'metadata':
      return isGivenMapping(value)
    case 'requests_per_unit':
      return (roughCountOf(value) ?? Infinity) <= maxCount
    case 'domain':
    case 'key':
    case 'value':
    case 'unit':
    case 'name':
      // Here a fraction is text, too.
      return typeof value === 'string' || isPlainScalar(value)
    default:
      return flagOf(value) !== undefined
  }
}

function fitsList(place: KeyPlace, value: unknown): boolean {
  if (!Array.isArray(value)) return false
  return (value as readonly unknown[]).every((item) => isNothing(item) || fitsPlace(place, item))
}

function fitsPlace(place: KeyPlace, value: unknown): boolean {
  if (!isGivenMapping(value)) return false
  let fits = true
  const members = membersOf(value, [], () => {
    fits = false
  })
  const known: readonly string[] = keyPlaces[place]
  for (const [key, { value: last, earlier }] of members) {
    if (!known.includes(key)) continue
    fits &&= [last, ...earlier.map((each) => each.value)].every((each) => fitsKey(key, each))
  }
  return fits
}
