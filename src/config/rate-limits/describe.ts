import type { Level, RateLimitConfig } from '../../ratelimit/tree.js'

/** How much there is: of the whole, then of each domain. */
export function describeRateLimits(
  files: readonly string[],
  { domains }: RateLimitConfig,
): readonly string[] {
  return [
    `rate limits: ${counted(files.length, 'file')}, ${counted(domains.size, 'domain')}`,
    ...[...domains].map(([domain, level]) => `  ${domain}: ${counted(rulesIn(level), 'limit')}`),
  ]
}

function rulesIn({ nodes }: Level): number {
  let count = 0
  for (const { rule, next } of nodes.values()) {
    count += (rule === undefined ? 0 : 1) + rulesIn(next)
  }
  return count
}

function counted(count: number, what: string): string {
  return `${String(count)} ${what}${count === 1 ? '' : 's'}`
}
