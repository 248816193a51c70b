import type { ConfigFault, ConfigWarning } from '../../errors.js'
import type { KeyPath } from '../faults.js'
import { isMapping } from '../partly.js'
import { onceExpected } from '../yaml-document.js'
import type { YamlDocument } from '../yaml-document.js'
import { keyPlaces, membersOf, wrongKey } from './keys.js'
import type { KeyPlace, Member, Said } from './keys.js'
import { countOf, flagOf, isNothing, isPlainScalar, maxCount, textOf } from './scalars.js'
import { fitsKey, isGivenMapping, mergeExpected, refuseUnread } from './unread.js'

/** Faults of one file that are looked for, and warnings: where each is has to be found in the whole of it. */
const maxFaults = 1000

/** What is known while one file is read. */
export interface Read {
  readonly document: YamlDocument
  /** Where a fault of the document is: what is wrong with the value there follows from it. */
  readonly told: ReadonlySet<string>
  readonly faults: ConfigFault[]
  readonly warnings: ConfigWarning[]
  descriptorCount: number
}

/** Of a value, as `Read.told` knows it. */
export function placeOf({ line, key }: ConfigFault): string {
  return `${String(line)} ${key}`
}

export function say({ document, told, faults }: Read, at: KeyPath, expected: string): void {
  if (faults.length >= maxFaults) return
  const fault = document.fault(at, expected)
  if (!told.has(placeOf(fault))) faults.push(fault)
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

/** @param holds what is made of the value, which is shown */
export function warn(
  { document, warnings }: Read,
  at: KeyPath,
  holds: string,
  expected: string,
): void {
  if (warnings.length < maxFaults) warnings.push({ ...document.fault(at, expected), holds })
}

/** As `sayOfKey`. */
function warnOfKey(
  { document, warnings }: Read,
  at: KeyPath,
  what: string,
  holds: string,
  expected: string,
): void {
  if (warnings.length < maxFaults) {
    warnings.push({ ...document.keyFault(at, what, expected), holds })
  }
}

/** Of a key that is given again. */
export function warnOfRepeat(context: Read, { at, earlier }: Member, holds: string): void {
  const [first] = earlier
  if (first === undefined || context.warnings.length >= maxFaults) return
  const { line } = context.document.fault(first.at, '')
  warnOfKey(context, at, 'given again', holds, onceExpected(line))
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
    say(context, where, mergeExpected)
  })
  const given = [...members.keys()]
  for (const [key, member] of members) {
    if (context.faults.length >= maxFaults) break
    const wrong = wrongKey(key, place, given)
    if (wrong === undefined) readRepeat(context, key, member)
    else if (!wrong.isMisplaced) sayOfKey(context, member.at, wrong.what, wrong.expected)
    else {
      warnOfKey(context, member.at, wrong.what, 'no effect', wrong.expected)
      refuseUnread(member, (where, what, expected) => {
        if (what === undefined) say(context, where, expected)
        else sayOfKey(context, where, what, expected)
      })
    }
  }
  return members
}

function readRepeat(context: Read, key: string, member: Member): void {
  if (member.earlier.length === 0) return
  const isAdded = earlierMappings(member).length > 0
  if (member.isRepeat || addsKeys(member)) {
    warnOfRepeat(context, member, isAdded ? 'added to the one before' : 'this one holds')
  }
  for (const { value, at } of member.earlier) {
    if (!fitsKey(key, value)) say(context, at, `what fits ${key}, also where it is given again`)
  }
}

/** A merge may bring what is replaced as a whole, which surprises nobody. */
function addsKeys(member: Member): boolean {
  const { value } = member
  if (!isGivenMapping(value)) return false
  const own = membersOf(value, [], () => undefined)
  return withEarlier(own, member).size > own.size
}

/**
 * The mappings that were given before one, up to the last that was given as nothing; the last of them first. Go reads
 * each into the same struct, or map: only `rate_limit` and `metadata` are any.
 */
function earlierMappings({ value, earlier }: Member): readonly Said[] {
  if (!isGivenMapping(value)) return []
  const latest = earlier.toReversed()
  const end = latest.findIndex((each) => isNothing(each.value))
  return latest.slice(0, end === -1 ? undefined : end).filter((each) => isGivenMapping(each.value))
}

/** The keys of a mapping, those of its earlier ones behind its own. */
export function withEarlier(
  members: ReadonlyMap<string, Member>,
  member: Member,
): ReadonlyMap<string, Member> {
  const all = new Map(members)
  for (const { value, at } of earlierMappings(member)) {
    // What is wrong with it is told where it stands.
    const before = membersOf(value as Readonly<Record<string, unknown>>, at, () => undefined)
    for (const [key, each] of before) if (!all.has(key)) all.set(key, each)
  }
  return all
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
