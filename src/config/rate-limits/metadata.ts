import type { SayFault } from '../faults.js'
import { isMapping } from '../partly.js'
import { membersOf } from './keys.js'
import type { Member } from './keys.js'
import { dataOf, isNothing, isPlainScalar } from './scalars.js'

/** The free-form `metadata` of a descriptor; undefined where there is none, or a wrong one. */
export function readMetadata(
  member: Member | undefined,
  fault: SayFault,
): Readonly<Record<string, unknown>> | undefined {
  if (member === undefined || isNothing(member.value)) return undefined
  const data = readData(member, fault)
  if (isMapping(data)) return data
  fault(member.at, 'a mapping, of any keys')
  return undefined
}

function readData({ value, at }: Member, fault: SayFault): unknown {
  if (Array.isArray(value)) {
    return (value as readonly unknown[]).map((item, index) =>
      readData({ value: item, at: [...at, index] }, fault),
    )
  }
  if (!isMapping(value) || isPlainScalar(value)) return dataOf(value)
  const members = membersOf(value, at, (where) => {
    fault(where, 'a mapping, or a list of mappings, to merge')
  })
  const data = Object.create(null) as Record<string, unknown>
  for (const [key, member] of members) {
    // It would be no key any more where the mapping is merged into another.
    if (key === '__proto__') fault(member.at, 'another key')
    else data[key] = readData(member, fault)
  }
  return data
}
