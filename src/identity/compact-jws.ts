import { deny } from '../denial.js'
import type { Denial } from '../denial.js'
import { KIB_BYTES } from '../units.js'
import { signatureAlgorithms } from './issuer.js'
import type { SignatureAlgorithm } from './issuer.js'
import { member, parseStrictObject } from './strict-json.js'
import type { JsonObject } from './strict-json.js'

/** A credential whose form is right and whose signature nobody has looked at. Trust nothing in it. */
export interface UnverifiedJws {
  readonly kind: 'unverified'
  readonly alg: SignatureAlgorithm
  readonly kid: string | undefined
  /** Parsed from the very bytes that the signature covers; the only reading of them there is. */
  readonly claims: JsonObject
}

/** No provider's header comes near it; a longer one carries a key or a certificate. */
const maxHeaderBytes = 2 * KIB_BYTES
/** Keycloak's `resource_access.<client>.roles` is the deepest in use, at 4 with its array. */
const maxDepth = 16
const maxKidLength = 256

/**
 * Header parameters that make a credential choose its own key, its own rules or another format: a key or its
 * address (RFC 8725 §3.10), extensions that must be understood (RFC 7515 §4.1.11), an unencoded payload
 * (RFC 7797), compression (RFC 8725 §3.6), a nested or an encrypted credential (RFC 7519 §5.2, RFC 7516).
 */
const refusedParameters = ['crit', 'b64', 'jwk', 'jku', 'x5u', 'x5c', 'zip', 'cty', 'enc'] as const

/**
 * A JWT may leave out `typ`, or say one of these in any case (RFC 7519 §5.1, RFC 9068 §2.1, RFC 7515 §4.1.9).
 * Another says that it was made for another purpose, as `logout+jwt` or `dpop+jwt` (RFC 8725 §3.11).
 */
const acceptedTypes = new Set(['jwt', 'application/jwt', 'at+jwt', 'application/at+jwt'])

/**
 * Takes a compact JWS apart as strictly as its grammar allows, before any library and any cryptography sees it.
 *
 * @param credential at most `maxCredentialBytes` ASCII characters
 * @returns or `credential_malformed` (not a compact JWS in canonical form), `algorithm_refused` (`none`, HMAC,
 * anything not in `signatureAlgorithms`), `credential_invalid` (a form that is well made and not accepted)
 */
export function readCompactJws(credential: string): UnverifiedJws | Denial {
  const parts = credential.split('.', 7)
  const [headerPart, payloadPart, signaturePart] = parts
  if (
    parts.length !== 3 ||
    headerPart === undefined ||
    payloadPart === undefined ||
    signaturePart === undefined
  ) {
    return malformed(
      parts.length === 5
        ? 'an encrypted credential (JWE)'
        : `${String(parts.length)} parts instead of three`,
    )
  }

  const headerBytes = decodeBase64url(headerPart)
  if (headerBytes === undefined) return malformed('the header is not canonical base64url')
  if (headerBytes.length > maxHeaderBytes) return malformed('the header is over 2 KiB')
  const header = parseStrictObject(headerBytes, maxDepth)
  if (header === undefined) return malformed('the header is not a strict JSON object')

  const alg = member(header, 'alg')
  if (!isSignatureAlgorithm(alg)) {
    return deny(
      'algorithm_refused',
      'The credential is not signed in a way that is accepted here. Ask its issuer for an asymmetric signature, as ES256 or RS256.',
      { detail: 'alg is not an asymmetric signature algorithm' },
    )
  }
  const fault = headerFault(header)
  if (fault !== undefined) return refusedForm(fault)

  const payloadBytes = decodeBase64url(payloadPart)
  if (payloadBytes === undefined) return malformed('the payload is not canonical base64url')
  const claims = parseStrictObject(payloadBytes, maxDepth)
  if (claims === undefined) return malformed('the payload is not a strict JSON object')

  if (decodeBase64url(signaturePart) === undefined) {
    return malformed('the signature is missing or not canonical base64url')
  }
  const kid = member(header, 'kid')
  return { kind: 'unverified', alg, kid: typeof kid === 'string' ? kid : undefined, claims }
}

function headerFault(header: JsonObject): string | undefined {
  const refused = refusedParameters.find((name) => Object.hasOwn(header, name))
  if (refused !== undefined) return `the header has ${refused}`
  const typ = member(header, 'typ')
  if (typ !== undefined && !(typeof typ === 'string' && acceptedTypes.has(typ.toLowerCase()))) {
    return 'typ says that it is made for another purpose'
  }
  const kid = member(header, 'kid')
  if (kid !== undefined && !(typeof kid === 'string' && kid !== '' && kid.length <= maxKidLength)) {
    return `kid is not a string of 1 to ${String(maxKidLength)} characters`
  }
  return undefined
}

function isSignatureAlgorithm(alg: unknown): alg is SignatureAlgorithm {
  return (signatureAlgorithms as readonly unknown[]).includes(alg)
}

const base64urlSyntax = /^[A-Za-z0-9_-]+$/

/**
 * Unpadded base64url of at least one byte (RFC 7515 §2). Several texts decode to the same bytes when the unused
 * bits of the last character are not zero; only the canonical one is read, so that one credential has one text.
 */
function decodeBase64url(text: string): Buffer | undefined {
  if (!base64urlSyntax.test(text)) return undefined
  const bytes = Buffer.from(text, 'base64url')
  return bytes.toString('base64url') === text ? bytes : undefined
}

function malformed(detail: string): Denial {
  return deny(
    'credential_malformed',
    'The credential is not a signed JWT. Send the access credential exactly as its issuer gave it.',
    { detail },
  )
}

function refusedForm(detail: string): Denial {
  return deny(
    'credential_invalid',
    'This kind of credential is not accepted. Send a plain access credential of your issuer.',
    { detail },
  )
}
