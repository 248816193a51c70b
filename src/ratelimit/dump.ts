import type { Level, Node, RateLimitConfig } from './tree.js'

/** Every rule that is in force, one a line, in the words of envoyproxy/ratelimit. */
export function dumpConfig({ domains }: RateLimitConfig): string {
  const lines: string[] = []
  for (const [domain, level] of domains) dumpLevel(domain, level, lines)
  return lines.join('')
}

/** As deep as files may nest. */
function dumpLevel(name: string, { nodes }: Level, lines: string[]): void {
  for (const [key, node] of nodes) {
    dumpRule(`${name}.${key}`, node, lines)
    dumpLevel(`${name}.${key}`, node.next, lines)
  }
}

function dumpRule(name: string, { rule }: Node, lines: string[]): void {
  if (rule === undefined) return
  const { limit, shadowMode, quotaMode } = rule
  const what =
    limit === undefined
      ? 'unit=UNKNOWN requests_per_unit=0'
      : `unit=${limit.unit.toUpperCase()} requests_per_unit=${String(limit.requestsPerUnit)}`
  lines.push(
    `${name}: ${what}, shadow_mode: ${String(shadowMode)}, quota_mode: ${String(quotaMode)}\n`,
  )
}
