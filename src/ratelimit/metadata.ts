import type { RateLimitCall } from './call.js'
import type { Descriptor } from './rule.js'

/** What JSON can say, by names. */
export type Metadata = Readonly<Record<string, unknown>>

/**
 * The call again, and under `metadata` what the rules say of themselves whose descriptors are not over. The names and
 * the form are envoyproxy/ratelimit's.
 */
export function answerMetadata(call: RateLimitCall, passed: readonly Metadata[]): Metadata {
  const metadata = passed.reduce<Metadata>(merge, {})
  return {
    domain: call.domain,
    descriptors: call.descriptors.map(describe),
    ...(call.hitsAddend === 0n ? {} : { hitsAddend: Number(call.hitsAddend) }),
    ...(Object.keys(metadata).length === 0 ? {} : { metadata }),
  }
}

function describe({ entries, limit, hitsAddend }: Descriptor): Metadata {
  return {
    entries: entries.map(({ key, value }) => `${key}=${value}`),
    ...(limit === undefined
      ? {}
      : {
          limit: `requests_per_unit:${String(limit.requestsPerUnit)} unit:${limit.unit.toUpperCase()}`,
        }),
    ...(hitsAddend === undefined ? {} : { hitsAddend: Number(hitsAddend) }),
  }
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
