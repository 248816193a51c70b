import { createHash } from 'node:crypto'
import type { Clock } from '../clock.js'
import type { Denial } from '../denial.js'
import { SECOND_MS } from '../units.js'
import { createApiKeys, isApiKey } from './api-keys.js'
import type { ApiKey, ApiKeys } from './api-keys.js'
import { expired } from './claims.js'
import type { Identified } from './claims.js'
import { maxCredentialBytes, tooLarge } from './credential.js'
import { createExpiringMap } from './expiring-map.js'
import { fetchJson } from './fetch-json.js'
import type { FetchJson } from './fetch-json.js'
import { issuersFault } from './issuer.js'
import type { Issuer } from './issuer.js'
import type { KeySetEvent } from './key-set.js'
import { createKeySets } from './key-sets.js'
import type { Principal } from './principal.js'
import { verifyCredential } from './verify-credential.js'
import type { SignatureBasis, TrustedIssuer } from './verify-credential.js'

/** Who is calling, by the issuers and API keys of one policy generation. */
export interface Authenticator {
  /**
   * The caller that a credential names, if it is an API key of the policy, or signed by a known issuer for this
   * service, and its time is now.
   *
   * @param credential as `readCredential` gave it
   * @throws DependencyError the issuer's keys cannot be had: nothing is known about the credential
   */
  authenticate(credential: string): Promise<Principal | Denial>
  /** Fetches the keys that are missing or due, within 2 s. Never rejects; `ready` says how it went. */
  prefetch(): Promise<void>
  /**
   * At least one issuer has usable keys. Callers of another get a failure meanwhile; that must not take the process
   * away from those whose keys are here, nor may a reload that names a provider which is down. Where the policy has
   * API keys, theirs are here always.
   */
  ready(): boolean
}

export interface Identity {
  /**
   * Makes the authenticator of a policy generation. Call it when that policy takes effect: key sets of issuers
   * that it does not name, or names with other settings, are no longer refreshed.
   *
   * @throws Error `issuersFault` finds one, or two API keys share a hash; the configuration is checked for it before
   */
  use(issuers: readonly Issuer[], apiKeys?: readonly ApiKey[]): Authenticator
  /** Stops the refreshes and aborts what is under way. */
  close(): void
}

export interface IdentityDeps {
  readonly clock: Clock
  /** Uniform in [0, 1); spreads refreshes and retries. */
  readonly random: () => number
  readonly fetch?: FetchJson
  readonly onEvent?: (event: KeySetEvent) => void
  /** Calls `act` about once a second until the returned function is called; keys are kept current by it. */
  readonly everySecond?: (act: () => void) => () => void
}

/** How long, and how many, verified credentials are believed without a new look at the signature. */
const verifiedLimits = { lifeMs: 60 * SECOND_MS, maxEntries: 10_000 }
/** The same for forged ones: a client that retries with one costs no cryptography, a flood of them no memory. */
const forgedLimits = { lifeMs: 10 * SECOND_MS, maxEntries: 1000 }

/** The identity room: key sets that stay current, and an authenticator for each policy generation. */
export function createIdentity(deps: IdentityDeps): Identity {
  const { clock, random, fetch = fetchJson, onEvent = () => {} } = deps
  const keySets = createKeySets({ clock, random, fetch, onEvent })
  const stop = (deps.everySecond ?? everySecond)(() => void keySets.maintain())
  return {
    use(issuers, apiKeys = []) {
      const fault = issuersFault(issuers)
      if (fault !== undefined) throw new Error(`issuers: ${fault}`)
      const keys = createApiKeys(apiKeys, clock)
      return createAuthenticator(keySets.use(issuers), keys, clock)
    },
    close() {
      stop()
      keySets.close()
    },
  }
}

function createAuthenticator(
  issuers: ReadonlyMap<string, TrustedIssuer>,
  apiKeys: ApiKeys,
  clock: Clock,
): Authenticator {
  // Keyed by hash: the credential itself is never kept, since what is in memory can end in a dump.
  const verified = createExpiringMap<Remembered<Identified>>({ ...verifiedLimits, clock })
  const forged = createExpiringMap<Remembered<Denial>>({ ...forgedLimits, clock })
  const underWay = new Map<string, Promise<Principal | Denial>>()

  function recall(hash: string): Principal | Denial | undefined {
    const accepted = verified.get(hash)
    if (accepted === undefined) {
      const refused = forged.get(hash)
      return refused !== undefined && isCurrent(refused) ? refused.answer : undefined
    }
    if (!isCurrent(accepted)) return undefined
    const { principal, validFromEpochMs, validUntilEpochMs } = accepted.answer
    const nowEpochMs = clock.nowEpochMs()
    if (nowEpochMs >= validUntilEpochMs) return expired()
    // A clock that was put back before the beginning: decide anew.
    return nowEpochMs < validFromEpochMs ? undefined : principal
  }

  async function verify(credential: string, hash: string): Promise<Principal | Denial> {
    const result = await verifyCredential(credential, issuers, () => clock.nowEpochMs())
    switch (result.kind) {
      case 'accepted':
        verified.set(hash, { answer: result.caller, basis: result.basis })
        return result.caller.principal
      case 'forged':
        forged.set(hash, { answer: result.denial, basis: result.basis })
        return result.denial
      case 'refused':
        return result.denial
    }
  }

  return {
    authenticate(credential) {
      if (credential.length > maxCredentialBytes) return Promise.resolve(tooLarge())
      if (isApiKey(credential)) return Promise.resolve(apiKeys.find(credential))
      const hash = createHash('sha256').update(credential).digest('base64')
      const recalled = recall(hash)
      if (recalled !== undefined) return Promise.resolve(recalled)
      const joined = underWay.get(hash)
      if (joined !== undefined) return joined
      const started = verify(credential, hash).finally(() => underWay.delete(hash))
      underWay.set(hash, started)
      return started
    },
    async prefetch() {
      await Promise.all([...issuers.values()].map(({ keySet }) => keySet.maintain()))
    },
    ready: () =>
      apiKeys.size > 0 ||
      issuers.size === 0 ||
      [...issuers.values()].some(({ keySet }) => keySet.version() !== undefined),
  }
}

interface Remembered<Answer> {
  readonly answer: Answer
  readonly basis: SignatureBasis
}

/** A key that its issuer has withdrawn, or that is past its time, takes what it signed with it. */
function isCurrent({ basis }: Remembered<unknown>): boolean {
  return basis.keySet.version() === basis.version
}

function everySecond(act: () => void): () => void {
  const timer = setInterval(act, SECOND_MS)
  // A timer alone must not keep a process that has nothing left to do.
  timer.unref()
  return () => {
    clearInterval(timer)
  }
}
