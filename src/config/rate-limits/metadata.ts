import { isMapping } from '../partly.js'
import { membersOf } from './keys.js'
import type { Member, Said } from './keys.js'
import { say, warnOfRepeat, withEarlier } from './reader.js'
import type { Read } from './reader.js'
import { dataOf, isNothing, isPlainScalar } from './scalars.js'
import { mergeExpected } from './unread.js'

/** The free-form `metadata` of a descriptor; undefined where there is none, or a wrong one. */
export function readMetadata(
  context: Read,
  member: Member | undefined,
): Readonly<Record<string, unknown>> | undefined {
  if (member === undefined || isNothing(member.value)) return undefined
  const { value, at } = member
  if (!isMapping(value) || isPlainScalar(value)) {
    say(context, at, 'a mapping, of any keys')
    return undefined
  }
  return dataOfMembers(context, withEarlier(membersAt(context, value, at), member))
}

function membersAt(
  context: Read,
  mapping: Readonly<Record<string, unknown>>,
  at: Member['at'],
): ReadonlyMap<string, Member> {
  return membersOf(mapping, at, (where) => {
    say(context, where, mergeExpected)
  })
}

function dataOfMembers(
  context: Read,
  members: ReadonlyMap<string, Member>,
): Readonly<Record<string, unknown>> {
  const data = Object.create(null) as Record<string, unknown>
  for (const [key, member] of members) {
    if (member.isRepeat) warnOfRepeat(context, member, 'this one holds')
    // It would be no key any more where the mapping is merged into another.
    if (key === '__proto__') say(context, member.at, 'another key')
    else data[key] = readData(context, member)
  }
  return data
}

function readData(context: Read, { value, at }: Said): unknown {
  if (Array.isArray(value)) {
    return (value as readonly unknown[]).map((item, index) =>
      readData(context, { value: item, at: [...at, index] }),
    )
  }
  if (!isMapping(value) || isPlainScalar(value)) return dataOf(value)
  return dataOfMembers(context, membersAt(context, value, at))
}
