import { hash } from 'node:crypto'
import type { Clock } from '../clock.js'
import { deny } from '../denial.js'
import type { Denial } from '../denial.js'
import type { Principal } from './principal.js'

// Keys that Tollgate itself knows: the policy lists their hashes, and whoever sends a key is the caller of its entry.

/**
 * How every API key begins, and nothing else that is sent: a signed JWT begins with the base64url of a JSON object, and
 * `tgk_` is that of a byte which no UTF-8 text begins with (0xb6).
 */
export const apiKeyPrefix = 'tgk_'

/** So many random bytes are in a key: 256 bits, 43 characters of base64url. */
export const API_KEY_BYTES = 32

const apiKeyForm = /^tgk_[A-Za-z0-9_-]{43}$/

/** A key of the policy, by its hash. */
export interface ApiKey {
  /** Names the key in records and partitions; no secret. */
  readonly id: string
  /** Of the whole key as sent, in lower-case hex. */
  readonly sha256: string
  readonly tenant: string
  readonly subject: string
  readonly groups: readonly string[]
  readonly client: string | undefined
  /** From this moment on it is refused; undefined: it has no end. */
  readonly expiresAtEpochMs: number | undefined
}

/** Does the credential go the way of API keys? Whatever else it is, it is then no JWT. */
export function isApiKey(credential: string): boolean {
  return credential.startsWith(apiKeyPrefix)
}

/** @param random `API_KEY_BYTES` of them */
export function apiKeyOf(random: Uint8Array): string {
  if (random.length !== API_KEY_BYTES) throw new Error('an API key has 32 random bytes')
  return apiKeyPrefix + Buffer.from(random).toString('base64url')
}

/** As the policy has it. One round is enough: 256 random bits are not guessed, however fast a guess is tried. */
export function apiKeyHash(key: string): string {
  return hash('sha256', key, 'hex')
}

/** The keys of one policy generation. */
export interface ApiKeys {
  readonly size: number
  /** The caller of a credential that `isApiKey`; pure but for the time. */
  find(credential: string): Principal | Denial
}

/** @throws Error two keys share a hash; the configuration is checked for it before */
export function createApiKeys(keys: readonly ApiKey[], clock: Clock): ApiKeys {
  const known = new Map(keys.map((key) => [key.sha256, principalOf(key)]))
  if (known.size < keys.length) throw new Error('apiKeys: two keys share a hash')
  return {
    size: known.size,
    find(credential) {
      if (!apiKeyForm.test(credential)) return malformed()
      // Looked up by hash, so how long this takes tells at most about the hash of what was sent: to come nearer to a
      // key by it, one would need texts whose hashes begin as that of the key, and then still its preimage.
      const found = known.get(apiKeyHash(credential))
      if (found === undefined) return unknown()
      return clock.nowEpochMs() >= found.expiresAtEpochMs ? expired() : found
    },
  }
}

/** Made once for each key: a caller is the same object at each request. */
function principalOf({ id, tenant, subject, groups, client, expiresAtEpochMs }: ApiKey): Principal {
  return {
    issuer: undefined,
    subject,
    tenant,
    groups,
    scopes: [],
    client,
    apiKey: id,
    expiresAtEpochMs: expiresAtEpochMs ?? Infinity,
  }
}

function malformed(): Denial {
  return deny(
    'credential_malformed',
    'The API key cannot be read. Send it whole: "tgk_" and 43 letters, digits, "-" or "_".',
    { detail: 'an API key of another form' },
  )
}

/** The same whatever keys there are, and whether there are any. */
function unknown(): Denial {
  return deny(
    'credential_invalid',
    'The API key is not accepted here. Check that it is the right one, or ask the operator for another.',
    { detail: 'an API key that the policy does not list' },
  )
}

/** Only who has the key itself gets this. */
function expired(): Denial {
  return deny('credential_expired', 'The API key has expired. Ask the operator for another.', {
    detail: 'an API key past its expires',
  })
}
