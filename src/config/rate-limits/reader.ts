import type { ConfigFault } from '../../errors.js'
import type { KeyPath } from '../faults.js'
import { isMapping } from '../partly.js'
import type { YamlDocument } from '../yaml-document.js'
import { keyPlaces, membersOf, unknownKey } from './keys.js'
import type { KeyPlace, Member } from './keys.js'
import { countOf, flagOf, isPlainScalar, textOf } from './scalars.js'

/** Faults of one file that are looked for: where each is has to be found in the whole of it. */
const maxFaults = 1000
const maxCount = 2 ** 32 - 1

/** What is known while one file is read. */
export interface Read {
  readonly document: YamlDocument
  readonly faults: ConfigFault[]
  descriptorCount: number
}

export function say({ document, faults }: Read, at: KeyPath, expected: string): void {
  if (faults.length < maxFaults) faults.push(document.fault(at, expected))
}

/** @param what stands in the place of the value */
export function sayOfKey(
  { document, faults }: Read,
  at: KeyPath,
  what: string,
  expected: string,
): void {
  if (faults.length < maxFaults) faults.push(document.keyFault(at, what, expected))
}

/** The keys of a mapping, those of its merges included; undefined, and a fault, where it is none. */
export function mappingAt(
  context: Read,
  value: unknown,
  at: KeyPath,
  place: KeyPlace,
): ReadonlyMap<string, Member> | undefined {
  if (!isMapping(value) || isPlainScalar(value)) {
    const keys = keyPlaces[place].join(', ')
    say(
      context,
      at,
      `a mapping with keys of ${keys}, not a list or a value of another type than map`,
    )
    return undefined
  }
  const members = membersOf(value, at, (where) => {
    say(context, where, 'a mapping, or a list of mappings, to merge')
  })
  const given = [...members.keys()]
  for (const [key, { at: there }] of members) {
    if (context.faults.length >= maxFaults) break
    const wrong = unknownKey(key, place, given)
    if (wrong === undefined) continue
    sayOfKey(context, there, wrong.what, wrong.expected)
  }
  return members
}

/** Empty where it is not there; undefined where it is wrong. */
export function textAt(
  context: Read,
  member: Member | undefined,
  what: string,
): string | undefined {
  const text = textOf(member?.value)
  if (text === undefined && member !== undefined) {
    say(context, member.at, `${what}: text, in quotes if it looks like a fraction`)
  }
  return text
}

export function flagAt(context: Read, member: Member | undefined): boolean {
  const flag = flagOf(member?.value)
  if (flag === undefined && member !== undefined)
    say(context, member.at, 'true or false, not in quotes')
  return flag ?? false
}

export function countAt(context: Read, member: Member | undefined): number {
  const count = countOf(member?.value)
  const isRight = count !== undefined && count <= maxCount
  if (!isRight && member !== undefined) {
    say(context, member.at, `a whole number from 0 to ${String(maxCount)}, not in quotes`)
  }
  return count ?? 0
}
