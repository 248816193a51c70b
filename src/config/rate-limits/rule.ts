import { unitSeconds } from '../../ratelimit/rule.js'
import type { RateLimit, RateLimitRule, RateLimitUnit } from '../../ratelimit/rule.js'
import type { KeyPath } from '../faults.js'
import { oneOf } from '../values.js'
import type { Member } from './keys.js'
import { readMetadata } from './metadata.js'
import { countAt, flagAt, mappingAt, say, textAt, warn, withEarlier } from './reader.js'
import type { Read } from './reader.js'
import { isNoLimit, isNothing } from './scalars.js'

/** The rule of a descriptor; undefined where it has no `rate_limit`, or a wrong one. */
export function readRule(
  context: Read,
  descriptor: ReadonlyMap<string, Member>,
  shadowMode: boolean,
  quotaMode: boolean,
): RateLimitRule | undefined {
  const metadata = readMetadata(context, descriptor.get('metadata'))
  const member = descriptor.get('rate_limit')
  if (member === undefined || isNoLimit(member.value)) return undefined
  const own = mappingAt(context, member.value, member.at, 'rate_limit')
  if (own === undefined) return undefined
  const members = withEarlier(own, member)
  const name = textAt(context, members.get('name'), 'a name for this limit') ?? ''
  return {
    name,
    limit: readLimit(context, members, member.at),
    replaces: readReplaces(context, members.get('replaces'), name),
    shadowMode,
    quotaMode,
    metadata,
  }
}

/** Undefined: unlimited, or wrong. */
function readLimit(
  context: Read,
  members: ReadonlyMap<string, Member>,
  at: KeyPath,
): RateLimit | undefined {
  const isUnlimited = flagAt(context, members.get('unlimited'))
  const requestsPerUnit = countAt(context, members.get('requests_per_unit'))
  const unitAt = members.get('unit')?.at ?? [...at, 'unit']
  const units = Object.keys(unitSeconds) as readonly RateLimitUnit[]
  const written = textAt(context, members.get('unit'), oneOf(units))
  const unit = units.find((candidate) => candidate === written?.toLowerCase())
  if (isUnlimited) {
    const expected = 'to be left out: no rate limit unit is specified when unlimited'
    if (unit !== undefined) say(context, unitAt, expected)
    else if (written !== undefined && written !== '') warn(context, unitAt, 'no effect', expected)
    return undefined
  }
  if (unit === undefined) {
    if (written !== undefined) say(context, unitAt, `${oneOf(units)}: an invalid rate limit unit`)
    return undefined
  }
  return { requestsPerUnit, unit }
}

function readReplaces(context: Read, member: Member | undefined, own: string): readonly string[] {
  if (member === undefined || isNothing(member.value)) return []
  const { value, at } = member
  if (!Array.isArray(value)) {
    say(context, at, 'a list of mappings with a name')
    return []
  }
  return (value as readonly unknown[]).flatMap((item, index) => {
    const members = mappingAt(context, item, [...at, index], 'replaces')
    if (members === undefined) return []
    const name = textAt(context, members.get('name'), 'the name of another limit')
    const where = members.get('name')?.at ?? [...at, index, 'name']
    if (name === '') say(context, where, 'the name of another limit: no empty replaces entry')
    else if (name === own) {
      say(
        context,
        where,
        'the name of another limit: replaces does not contain the name of the same descriptor',
      )
    }
    return name === undefined ? [] : [name]
  })
}
