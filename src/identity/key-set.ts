import type { Clock } from '../clock.js'
import { DependencyError } from '../errors.js'
import { SECOND_MS } from '../units.js'
import type { FetchJson } from './fetch-json.js'
import type { SignatureAlgorithm } from './issuer.js'
import { fetchSigningKeys } from './provider.js'
import type { Provider } from './provider.js'
import type { SigningKey } from './signing-keys.js'

/** What happened to a key set; for metrics and the log. `reason` holds nothing that was received. */
export type KeySetEvent =
  | { readonly kind: 'fetched'; readonly issuer: string; readonly keyCount: number }
  | { readonly kind: 'failed'; readonly issuer: string; readonly reason: string }
  /** A fetch failed and the keys in use are older than `jwksCacheMs`. */
  | { readonly kind: 'stale'; readonly issuer: string; readonly ageMs: number }
  | { readonly kind: 'refetched_unknown_kid'; readonly issuer: string }

export interface KeySetDeps {
  readonly clock: Clock
  /** Uniform in [0, 1). */
  readonly random: () => number
  readonly fetch: FetchJson
  readonly onEvent: (event: KeySetEvent) => void
}

export type KeyAnswer =
  /** `version` is that of the set which holds the key. */
  | { readonly kind: 'found'; readonly key: SigningKey; readonly version: number }
  /** No key of that id, or none for that algorithm and no id was given. */
  | { readonly kind: 'unknown' }
  /** The key of that id is for another algorithm. */
  | { readonly kind: 'other_algorithm' }
  /** Several keys fit; OpenID Connect Core §10.1 has the credential name one then. */
  | { readonly kind: 'ambiguous' }

/** The keys of one issuer, kept current. */
export interface KeySet {
  /**
   * The key that a credential names. Waits for the provider only when it must: no keys yet, keys past their
   * time, or an unknown key id that may be a new one.
   *
   * @throws DependencyError the provider cannot be reached and there are no usable keys
   */
  find(alg: SignatureAlgorithm, kid: string | undefined): Promise<KeyAnswer>
  /** A number for the set in use, another when its keys change; undefined while there are no usable keys. */
  version(): number | undefined
  /** Starts a fetch if one is due and waits for the one under way; never rejects. */
  maintain(): Promise<void>
  /** Aborts the fetch under way and starts no other; the keys in hand stay usable for their time. */
  close(): void
}

const unknownKidCooldownMs = 10 * SECOND_MS
const backoffFirstMs = SECOND_MS
const backoffLastMs = 60 * SECOND_MS

/**
 * A key set that is fetched at about half its life, in a single flight, with back-off on failure, and served
 * stale for a bounded time when the provider is away. A set is replaced whole, and only by one with a usable key.
 */
export function createKeySet(provider: Provider, deps: KeySetDeps): KeySet {
  const { issuer, jwksCacheMs, jwksStaleMs } = provider
  const { clock, random, fetch, onEvent } = deps
  const closing = new AbortController()
  let keys: readonly SigningKey[] = []
  let fingerprint = ''
  let version = 0
  /** When the request for `keys` was sent: they may be as old as that. */
  let fetchedAtMs = -Infinity
  let nextFetchMs = -Infinity
  let failureCount = 0
  let unknownKidAtMs = -Infinity
  let underWay: Promise<void> | undefined

  const ageMs = (): number => clock.monotonicMs() - fetchedAtMs
  const isUsable = (): boolean => ageMs() <= jwksCacheMs + jwksStaleMs
  const isDue = (): boolean => !closing.signal.aborted && clock.monotonicMs() >= nextFetchMs

  function refresh(): Promise<void> {
    underWay ??= fetchOnce().finally(() => {
      underWay = undefined
    })
    return underWay
  }

  async function fetchOnce(): Promise<void> {
    const startedAtMs = clock.monotonicMs()
    try {
      const fetched = await fetchSigningKeys(provider, { fetch, clock, signal: closing.signal })
      replaceKeys(fetched)
      fetchedAtMs = startedAtMs
      failureCount = 0
      // 0.4 to 0.6 of the life: sidecars that started together do not ask together for ever.
      nextFetchMs = startedAtMs + jwksCacheMs * (0.4 + 0.2 * random())
      onEvent({ kind: 'fetched', issuer, keyCount: fetched.length })
    } catch (error) {
      if (closing.signal.aborted) return
      const backoffMs = Math.min(backoffLastMs, backoffFirstMs * 2 ** failureCount)
      failureCount += 1
      nextFetchMs = clock.monotonicMs() + backoffMs * (1 + 0.25 * random())
      onEvent({ kind: 'failed', issuer, reason: error instanceof Error ? error.message : 'failed' })
      if (isUsable() && ageMs() > jwksCacheMs) onEvent({ kind: 'stale', issuer, ageMs: ageMs() })
    }
  }

  function replaceKeys(fetched: readonly SigningKey[]): void {
    const fetchedFingerprint = fetched
      .map((key) => key.fingerprint)
      .sort()
      .join('\n')
    if (fetchedFingerprint === fingerprint) return
    keys = fetched
    fingerprint = fetchedFingerprint
    version += 1
  }

  async function ensureUsable(): Promise<void> {
    if (!isUsable()) {
      if (underWay !== undefined || isDue()) await refresh()
      if (!isUsable()) {
        throw new DependencyError('identity_provider', `no usable keys of the issuer ${issuer}`)
      }
    } else if (underWay !== undefined || isDue()) {
      // Past their life the keys are asked for before they are used; once that failed, nobody waits for it again.
      const mustWait = ageMs() > jwksCacheMs && failureCount === 0
      const refreshed = refresh()
      if (mustWait) await refreshed
    }
  }

  /** True when the set may have changed: look again. At most one fetch in 10 s comes from unknown key ids. */
  async function refetchForUnknownKid(): Promise<boolean> {
    const nowMs = clock.monotonicMs()
    const backingOff = failureCount > 0 && !isDue()
    if (underWay === undefined) {
      if (backingOff || closing.signal.aborted || nowMs - unknownKidAtMs < unknownKidCooldownMs) {
        return false
      }
      unknownKidAtMs = nowMs
      onEvent({ kind: 'refetched_unknown_kid', issuer })
    }
    await refresh()
    return true
  }

  function select(alg: SignatureAlgorithm, kid: string | undefined): KeyAnswer {
    const named = kid === undefined ? keys : keys.filter((key) => key.kid === kid)
    const fitting = named.filter((key) => key.alg === alg)
    const [key] = fitting
    if (fitting.length > 1) return { kind: 'ambiguous' }
    if (key !== undefined) return { kind: 'found', key, version }
    return kid !== undefined && named.length > 0 ? { kind: 'other_algorithm' } : { kind: 'unknown' }
  }

  return {
    async find(alg, kid) {
      await ensureUsable()
      const answer = select(alg, kid)
      if (answer.kind !== 'unknown' || !(await refetchForUnknownKid())) return answer
      return select(alg, kid)
    },
    version: () => (isUsable() ? version : undefined),
    async maintain() {
      if (underWay !== undefined || isDue()) await refresh()
    },
    close() {
      closing.abort()
    },
  }
}
