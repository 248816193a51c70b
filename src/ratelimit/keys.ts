import { hash } from 'node:crypto'
import type { Ask } from './counters.js'
import { windowStartSeconds } from './counters.js'

/** A release that writes something else counts apart. */
const SCHEMA = 'tg2:l:'

/** 128 bits, 22 characters of base64url: among 2^40 counters two share a key with a chance of about 2^-49. */
const HASH_BYTES = 16

/**
 * What a counter is known by, whatever its window. Two different ones never share it, and nothing of a request is
 * readable in it (invariant 8): every text says its length before it is hashed.
 */
export function counterHash(domain: string, { counted, limit }: Ask): string {
  let spelling = encode(domain) + limit.unit
  for (const { key, value } of counted) spelling += encode(key) + encode(value)
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

function encode(part: string): string {
  return `${String(part.length)}:${part}`
}

/** Of the UTF-16 code units, because UTF-8 would make one text of all lone surrogates. */
function shortHash(text: string): string {
  const digest = hash('sha256', Buffer.from(text, 'utf16le'), 'buffer')
  // A slice of a longer string would keep that one as well.
  return digest.toString('base64url', 0, HASH_BYTES)
}
