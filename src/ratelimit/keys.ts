import { hash } from 'node:crypto'
import type { Ask } from './counters.js'
import { windowStartSeconds } from './counters.js'

/** A release that writes something else counts apart. */
const SCHEMA = 'tg1:l:'

/** 132 bits in base64url: among 2^40 counters two share a key with a chance of about 2^-53. */
const HASH_CHARACTERS = 22

/**
 * The key of a counter, whatever its window. Two different ones never share it, and nothing of a request is readable
 * in it (invariant 8): every text says its length before it is hashed. The braces are a Redis hash tag: the counters
 * of a domain live on one node of a cluster, so that a call is one script there too.
 */
export function counterKey(domain: string, { counted, limit }: Ask): string {
  let spelling = limit.unit
  for (const { key, value } of counted) spelling += encode(key) + encode(value)
  return `${SCHEMA}{${shortHash(domain)}}${shortHash(spelling)}`
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
  return hash('sha256', Buffer.from(text, 'utf16le'), 'base64url').slice(0, HASH_CHARACTERS)
}
