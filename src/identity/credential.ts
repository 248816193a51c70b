import { deny } from '../denial.js'
import type { Denial } from '../denial.js'
import type { Headers } from '../headers.js'
import { KIB_BYTES } from '../units.js'

/**
 * The longest credential that is looked at. Everything after this check is linear in it, so it bounds what a
 * stranger can make Tollgate do; the access credentials of the known providers are 1 to 4 KiB.
 */
export const maxCredentialBytes = 8 * KIB_BYTES

/** `Bearer` in any case, then exactly one space (RFC 6750 §2.1, RFC 9110 §11.1). */
const bearerScheme = /^bearer (?! )/i

/** `b64token` of RFC 6750 §2.1: no space, comma, quote, control or non-ASCII character can be inside. */
const bearerSyntax = /^[A-Za-z0-9\-._~+/]+=*$/

const howToSend = 'Send it as "Authorization: Bearer <JWT or API key>", one space and nothing else.'

/**
 * The caller's credential as sent, a JWT or an API key, or why there is none that could be used. It is not yet verified.
 *
 * Read from `Authorization`, or with `apiKeyHeader` (the Anthropic dialect's paths, and those of none) from
 * `x-api-key`. Both at once are refused: two parties that choose differently would see two callers. Without
 * `apiKeyHeader` an `x-api-key` says nothing about who is calling and is not read; it never reaches the engine
 * either, since the answer to Envoy removes both headers on every path. Cookies, the query (`access_token`, RFC 6750 §2.3,
 * forbidden by RFC 9700 §4.3.2) and the body are never read.
 *
 * @returns 1 to `maxCredentialBytes` ASCII characters; or `credential_missing`, `credential_ambiguous`,
 * `credential_too_large`, `credential_malformed`
 */
export function readCredential(
  headers: Headers,
  options: { readonly apiKeyHeader: boolean },
): string | Denial {
  const authorization = headers.get('authorization') ?? []
  const apiKey = options.apiKeyHeader ? (headers.get('x-api-key') ?? []) : []
  const [line, ...others] = [...authorization, ...apiKey]

  if (line === undefined) {
    return deny(
      'credential_missing',
      options.apiKeyHeader
        ? 'No credential was sent. Send one as "Authorization: Bearer <JWT or API key>" or as "x-api-key: <JWT or API key>".'
        : 'No credential was sent. Send one as "Authorization: Bearer <JWT or API key>".',
    )
  }
  if (others.length > 0) {
    return deny(
      'credential_ambiguous',
      'More than one credential was sent. Send exactly one, in one header.',
      {
        detail: `${String(authorization.length)} authorization, ${String(apiKey.length)} x-api-key`,
      },
    )
  }
  return apiKey.length === 1 ? readApiKey(line) : readBearer(line)
}

/** The refusal of a credential beyond `maxCredentialBytes`. */
export function tooLarge(): Denial {
  return deny(
    'credential_too_large',
    `The credential is longer than ${String(maxCredentialBytes)} bytes. Ask its issuer for one with fewer claims.`,
  )
}

function readBearer(line: string): string | Denial {
  // Before any pattern sees it. A character is at least one byte, so nothing within the limit is refused.
  if (line.length > 'bearer '.length + maxCredentialBytes) return tooLarge()
  if (!bearerScheme.test(line)) {
    return deny('credential_malformed', `The credential cannot be read. ${howToSend}`, {
      detail: 'the authorization header is not "Bearer", one space and a credential',
    })
  }
  return checkSyntax(line.slice('bearer '.length))
}

function readApiKey(line: string): string | Denial {
  if (line.length > maxCredentialBytes) return tooLarge()
  return checkSyntax(line)
}

function checkSyntax(credential: string): string | Denial {
  if (bearerSyntax.test(credential)) return credential
  return deny('credential_malformed', `The credential cannot be read. ${howToSend}`, {
    detail:
      credential === ''
        ? 'the credential is empty'
        : 'the credential holds characters outside RFC 6750 §2.1, as a comma or a space',
  })
}
