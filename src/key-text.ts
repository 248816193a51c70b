import { hash } from 'node:crypto'

// How keys are made of texts that clients choose, so that two never share one and nothing is readable in it (invariant 8).

/** 128 bits, 22 characters of base64url: among 2^40 texts two share one with a chance of about 2^-49. */
const HASH_BYTES = 16

/** A text that says its length, so that several behind each other have one reading. */
export function withLength(text: string): string {
  return `${String(text.length)}:${text}`
}

/** 128 bits of SHA-256. Of the UTF-16 code units, because UTF-8 would make one text of all lone surrogates. */
export function shortHash(text: string): string {
  const digest = hash('sha256', Buffer.from(text, 'utf16le'), 'buffer')
  // A slice of a longer string would keep that one as well.
  return digest.toString('base64url', 0, HASH_BYTES)
}
