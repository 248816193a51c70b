import type { Issuer } from './issuer.js'
import { createKeySet } from './key-set.js'
import type { KeySet, KeySetDeps } from './key-set.js'
import type { Provider } from './provider.js'
import type { TrustedIssuer } from './verify-credential.js'

/** The key sets of the issuers of the policy in force. */
export interface KeySets {
  /**
   * Each issuer with its key set, by the text of `iss`. A set whose settings did not change is the one of
   * before, with its keys; those that are no longer used are closed.
   */
  use(issuers: readonly Issuer[]): ReadonlyMap<string, TrustedIssuer>
  /** Lets each set in use fetch what is due; cheap when nothing is. */
  maintain(): Promise<void>
  close(): void
}

export function createKeySets(deps: KeySetDeps): KeySets {
  let inUse = new Map<string, KeySet>()
  return {
    use(issuers) {
      const next = new Map<string, KeySet>()
      const byIssuer = new Map<string, TrustedIssuer>()
      for (const issuer of issuers) {
        const provider = providerOf(issuer)
        const settings = JSON.stringify(provider)
        const keySet = inUse.get(settings) ?? createKeySet(provider, deps)
        next.set(settings, keySet)
        byIssuer.set(issuer.issuer, { issuer, keySet })
      }
      for (const [settings, keySet] of inUse) if (!next.has(settings)) keySet.close()
      inUse = next
      return byIssuer
    },
    async maintain() {
      await Promise.all([...inUse.values()].map((keySet) => keySet.maintain()))
    },
    close() {
      for (const keySet of inUse.values()) keySet.close()
      inUse = new Map()
    },
  }
}

function providerOf(issuer: Issuer): Provider {
  return {
    issuer: issuer.issuer,
    algorithms: issuer.algorithms,
    jwksCacheMs: issuer.jwksCacheMs,
    jwksStaleMs: issuer.jwksStaleMs,
    caFile: issuer.caFile,
    insecureHttp: issuer.insecureHttp,
  }
}
