import type { RateLimitCall } from './call.js'
import type { Descriptor, RateLimit } from './rule.js'

/** What JSON can say, by names. */
export type Metadata = Readonly<Record<string, unknown>>

/** What rules in quota mode have to do with an answer. */
export interface QuotaFacts {
  /** A rule that is counted says so itself; that all are in quota mode is not told, as there. */
  readonly isEnabled: boolean
  /** The descriptors that are over in quota mode, by their places in the call. */
  readonly over: readonly number[]
}

/**
 * The call again, what is over in quota mode, and under `metadata` what the rules say of themselves whose descriptors are
 * not over. The names and the form are envoyproxy/ratelimit's.
 */
export function answerMetadata(
  call: RateLimitCall,
  passed: readonly Metadata[],
  { isEnabled, over }: QuotaFacts,
): Metadata {
  const metadata = passed.reduce<Metadata>(merge, {})
  return {
    domain: call.domain,
    descriptors: call.descriptors.map(describe),
    ...(call.hitsAddend === 0n ? {} : { hitsAddend: Number(call.hitsAddend) }),
    quotaModeEnabled: isEnabled,
    ...(over.length === 0 ? {} : { quotaModeViolations: over }),
    ...(Object.keys(metadata).length === 0 ? {} : { metadata }),
  }
}

function describe({ entries, limit, hitsAddend }: Descriptor): Metadata {
  return {
    entries: entries.map(({ key, value }) => `${key}=${value}`),
    ...(limit === undefined ? {} : { limit: inProtobuf(limit) }),
    ...(hitsAddend === undefined ? {} : { hitsAddend: Number(hitsAddend) }),
  }
}

/** The text form of the message, in which 0 is not there. */
function inProtobuf({ requestsPerUnit, unit }: RateLimit): string {
  const requests = requestsPerUnit === 0 ? '' : `requests_per_unit:${String(requestsPerUnit)} `
  return `${requests}unit:${unit.toUpperCase()}`
}

/** The first to say a name is right; where both say mappings, these are merged. */
function merge(first: Metadata, second: Metadata): Metadata {
  const merged = new Map(Object.entries(first))
  for (const [name, value] of Object.entries(second)) {
    const known = merged.get(name)
    if (!merged.has(name)) merged.set(name, value)
    else if (isMapping(known) && isMapping(value)) merged.set(name, merge(known, value))
  }
  return Object.fromEntries(merged)
}

function isMapping(value: unknown): value is Metadata {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
