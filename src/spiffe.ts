/** SPIFFE ID §2: a trust domain and a path of plain segments, no query, no fragment; at most 2048 bytes. */
const spiffeForm = /^spiffe:\/\/[a-z0-9._-]{1,255}(?:\/(?!\.{1,2}(?:\/|$))[A-Za-z0-9._-]+)*$/
const maxBytes = 2048

/**
 * The SPIFFE ID of a peer as Envoy names it: the first URI of its certificate, else a DNS name or its subject, which
 * are no ids. Undefined where there is none.
 */
export function spiffeIdOf(peer: string): string | undefined {
  return peer.length <= maxBytes && spiffeForm.test(peer) ? peer : undefined
}
