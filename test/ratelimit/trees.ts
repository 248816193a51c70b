import type { Descriptor, Entry, Match, RateLimitRule } from '../../src/ratelimit/rule.js'
import { lookUpAll } from '../../src/ratelimit/lookup.js'
import { buildConfig } from '../../src/ratelimit/tree.js'
import type { FileDescriptor, RateLimitConfig } from '../../src/ratelimit/tree.js'

/** A rule of `requestsPerUnit` per minute. */
export function ruleOf(
  requestsPerUnit: number,
  differences: Partial<RateLimitRule> = {},
): RateLimitRule {
  return {
    name: '',
    limit: { requestsPerUnit, unit: 'minute' },
    replaces: [],
    shadowMode: false,
    quotaMode: false,
    metadata: undefined,
    ...differences,
  }
}

/** A descriptor of a file: `key` or `key=value`, in which the value may hold a `*`. */
export function node(
  written: string,
  differences: Partial<Omit<FileDescriptor, 'key' | 'value'>> = {},
): FileDescriptor {
  const { key, value } = entryOf(written)
  return {
    key,
    value,
    rule: undefined,
    detailedMetric: false,
    valueToMetric: false,
    shareThreshold: false,
    descriptors: [],
    ...differences,
  }
}

/** The domain `d` alone. */
export function configOf(...descriptors: readonly FileDescriptor[]): RateLimitConfig {
  return buildConfig([{ domain: 'd', descriptors }])
}

/** The rule of one descriptor, whatever the others of the call are. */
export function lookUp(
  config: RateLimitConfig,
  domain: string,
  descriptor: Descriptor,
): Match | undefined {
  return lookUpAll(config, domain, [descriptor])?.[0]
}

/** A descriptor of a request, as `['k1=v1', 's=o']`. */
export function asked(...entries: readonly string[]): Descriptor {
  return {
    entries: entries.map(entryOf),
    limit: undefined,
    hitsAddend: undefined,
    isNegativeHits: false,
  }
}

function entryOf(written: string): Entry {
  const at = written.indexOf('=')
  return at === -1
    ? { key: written, value: '' }
    : { key: written.slice(0, at), value: written.slice(at + 1) }
}
