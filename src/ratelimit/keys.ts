import { shortHash, withLength } from '../key-text.js'
import type { Ask } from './counters.js'
import { windowStartSeconds } from './counters.js'

/** A release that writes something else counts apart. */
const SCHEMA = 'tg2:l:'

/**
 * What a counter is known by, whatever its window. Two different ones never share it, and nothing of a request is
 * readable in it (invariant 8): every text says its length before it is hashed.
 */
export function counterHash(domain: string, { counted, limit }: Ask): string {
  let spelling = withLength(domain) + limit.unit
  for (const { key, value } of counted) spelling += withLength(key) + withLength(value)
  return shortHash(spelling)
}

/**
 * The same as a key of Redis. The braces are a hash tag: the counters of a domain live on one node of a cluster, so
 * that a call is one script there too.
 */
export function counterKey(domain: string, ask: Ask): string {
  return `${SCHEMA}{${domainHash(domain)}}${counterHash(domain, ask)}`
}

/** Calls come in the domains that the files have; no more are kept. */
const MAX_KEPT_DOMAINS = 1024
const keptDomains = new Map<string, string>()

function domainHash(domain: string): string {
  let kept = keptDomains.get(domain)
  if (kept === undefined) {
    kept = shortHash(domain)
    if (keptDomains.size >= MAX_KEPT_DOMAINS) keptDomains.clear()
    keptDomains.set(domain, kept)
  }
  return kept
}

/**
 * The key under which envoyproxy/ratelimit counts the same. Neither injective nor hashed: what is counted together
 * with it has to be called the same.
 */
export function peerKey(domain: string, { counted, limit }: Ask, nowEpochMs: number): string {
  let key = `${domain}_`
  for (const entry of counted) key += `${entry.key}_${entry.value}_`
  return key + String(windowStartSeconds(limit.unit, nowEpochMs))
}
