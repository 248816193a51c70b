import { compactVerify, errors } from 'jose'
import { deny } from '../denial.js'
import type { Denial } from '../denial.js'
import { readClaims } from './claims.js'
import type { Identified } from './claims.js'
import { readCompactJws } from './compact-jws.js'
import type { UnverifiedJws } from './compact-jws.js'
import type { Issuer } from './issuer.js'
import type { KeyAnswer, KeySet } from './key-set.js'
import type { SigningKey } from './signing-keys.js'
import { member } from './strict-json.js'

/** An issuer of the policy with the only keys that can sign for it. */
export interface TrustedIssuer {
  readonly issuer: Issuer
  readonly keySet: KeySet
}

/** The keys that an answer came from; while they are in use, the same credential has the same signature. */
export interface SignatureBasis {
  readonly keySet: KeySet
  readonly version: number
}

export type Verification =
  /** Signed by its issuer, for this service, in its time. */
  | { readonly kind: 'accepted'; readonly caller: Identified; readonly basis: SignatureBasis }
  /** Not signed by the key that it names. */
  | { readonly kind: 'forged'; readonly denial: Denial; readonly basis: SignatureBasis }
  /** Refused for another reason, cheap to find again or bound to change. */
  | { readonly kind: 'refused'; readonly denial: Denial }

/**
 * The story of one credential: its form, its issuer, that issuer's key, the signature, the claims.
 *
 * @param issuers by the text of `iss`
 * @param nowEpochMs read after the signature check, which may have waited for keys
 * @throws DependencyError the issuer's keys cannot be had
 */
export async function verifyCredential(
  credential: string,
  issuers: ReadonlyMap<string, TrustedIssuer>,
  nowEpochMs: () => number,
): Promise<Verification> {
  const jws = readCompactJws(credential)
  if (jws.kind === 'denied') return { kind: 'refused', denial: jws }

  const trusted = findIssuer(jws, issuers)
  if ('kind' in trusted) return { kind: 'refused', denial: trusted }
  const { issuer, keySet } = trusted

  const found = await keySet.find(jws.alg, jws.kid)
  if (found.kind !== 'found') return { kind: 'refused', denial: keyDenial(found) }
  const basis = { keySet, version: found.version }

  if (!(await isSignedBy(credential, found.key))) {
    const message = 'The signature of the credential is not right. Get a new credential.'
    const denial = deny('credential_invalid', message, { detail: 'signature' })
    return { kind: 'forged', denial, basis }
  }
  const caller = readClaims(jws.claims, issuer, nowEpochMs())
  return caller.kind === 'denied'
    ? { kind: 'refused', denial: caller }
    : { kind: 'accepted', caller, basis }
}

/** The issuer that the credential says it is of; only that issuer's key can prove it. */
function findIssuer(
  jws: UnverifiedJws,
  issuers: ReadonlyMap<string, TrustedIssuer>,
): TrustedIssuer | Denial {
  const name = member(jws.claims, 'iss')
  if (typeof name !== 'string') {
    return deny(
      'claims_invalid',
      'The claim "iss" of the credential must be one text. Get a credential from an issuer that is accepted here.',
      { detail: 'claim iss' },
    )
  }
  const trusted = issuers.get(name)
  if (trusted === undefined) {
    return deny(
      'issuer_unknown',
      'The issuer of the credential is not accepted here. Get a credential from one that is.',
    )
  }
  if (trusted.issuer.algorithms.includes(jws.alg)) return trusted
  return algorithmRefused('alg is not in the list of this issuer')
}

/** @throws Error the check itself failed: nothing is known about the signature */
async function isSignedBy(credential: string, key: SigningKey): Promise<boolean> {
  try {
    // One algorithm, the key's own: what the header says cannot choose another (RFC 8725 §3.1).
    await compactVerify(credential, key.key, { algorithms: [key.alg] })
    return true
  } catch (error) {
    if (error instanceof errors.JOSEError) return false
    throw error
  }
}

function keyDenial(answer: Exclude<KeyAnswer, { kind: 'found' }>): Denial {
  switch (answer.kind) {
    case 'other_algorithm':
      return algorithmRefused('the key of that kid is for another algorithm')
    case 'unknown':
      return deny(
        'credential_invalid',
        'The credential is signed with a key that its issuer does not publish. Get a new credential; if this one is new, try again in 10 seconds.',
        { detail: 'no key of that kid' },
      )
    case 'ambiguous':
      return deny(
        'credential_invalid',
        'The credential does not say which key of its issuer signed it. Ask its issuer for one with a key id.',
        { detail: 'several keys fit' },
      )
  }
}

function algorithmRefused(detail: string): Denial {
  return deny(
    'algorithm_refused',
    'The credential is not signed in a way that is accepted here. Ask its issuer for another signature algorithm.',
    { detail },
  )
}
