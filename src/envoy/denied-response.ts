import type { Decision } from '../decision.js'
import { denialStatus } from '../denial.js'
import type { Denial } from '../denial.js'
import { dialects } from '../llm/dialects.js'
import type { Dialect } from '../llm/dialect.js'
import { KIB_BYTES, MINUTE_MS, ceilSeconds } from '../units.js'
import { encodeValue, setHeader } from './header-option.js'
import type { DeniedHttpResponse, DenialCode, HeaderValueOption } from './wire.js'

/** The longest body of a refusal. */
export const maxDeniedBodyBytes = 4 * KIB_BYTES

/** The longest wait that `retry-after` asks for: OpenAI's clients ignore a longer one and come back at once. */
const maxRetryAfterMs = MINUTE_MS

type DenialStatus = (typeof denialStatus)[keyof typeof denialStatus]

/** `google.rpc.Code` of each status. Envoy only asks whether it is 0; the code is for whoever reads the wire. */
const codeOf = {
  400: 3,
  401: 16,
  403: 7,
  404: 5,
  405: 12,
  413: 3,
  415: 3,
  429: 8,
  503: 14,
} as const satisfies Record<DenialStatus, DenialCode>

/** The gRPC code of a refusal, never 0, which would allow. */
export function denialCode(denial: Denial): DenialCode {
  return codeOf[denialStatus[denial.reason]]
}

/** A refusal in the caller's own dialect; in the first of the list where none is known. */
export function deniedResponse(decision: Decision, denial: Denial): DeniedHttpResponse {
  const status = denialStatus[denial.reason]
  return {
    status: { code: status },
    headers: [
      setHeader('content-type', 'application/json'),
      // RFC 9110 §15.1: a cache may keep a 404 or 405 unless told otherwise, and the next caller may be allowed.
      setHeader('cache-control', 'no-store'),
      setHeader('x-tollgate-audit-id', encodeValue(decision.auditId)),
      ...challenge(denial, status),
      ...retryHeaders(denial),
      ...allowedMethods(denial),
    ],
    body: errorBody(decision.dialect ?? dialects[0], denial, status),
  }
}

function errorBody(dialect: Dialect, denial: Denial, status: DenialStatus): string {
  const { reason: code, message, param } = denial
  const body = dialect.errorBody({ status, code, message, param })
  if (Buffer.byteLength(body) <= maxDeniedBodyBytes) return body
  // Messages are ours and short; what can be long is a name within one. Each character can take six bytes of JSON.
  return dialect.errorBody({ status, code, message: message.slice(0, 512) })
}

/**
 * RFC 6750 §3: a request without a credential is told the scheme and nothing more; one with two of them is an
 * `invalid_request`; every other is an `invalid_token`.
 */
function challenge(denial: Denial, status: DenialStatus): readonly HeaderValueOption[] {
  if (status !== 401) return []
  const realm = 'Bearer realm="tollgate"'
  if (denial.reason === 'credential_missing') return [setHeader('www-authenticate', realm)]
  const error = denial.reason === 'credential_ambiguous' ? 'invalid_request' : 'invalid_token'
  // RFC 6750 §3: printable ASCII without quote and backslash.
  const description = denial.message
    .slice(0, 512)
    .replaceAll('"', "'")
    .replace(/[^\x20-\x5b\x5d-\x7e]/g, '?')
  return [
    setHeader('www-authenticate', `${realm}, error="${error}", error_description="${description}"`),
  ]
}

/** Tells a client whether and when to come back; `x-should-retry` is read by the clients of both dialects. */
function retryHeaders(denial: Denial): readonly HeaderValueOption[] {
  if (denial.reason === 'request_exceeds_quota') return [setHeader('x-should-retry', 'false')]
  const status = denialStatus[denial.reason]
  if (status !== 429 && status !== 503) return []
  const waitMs = denial.retryAfterMs ?? maxRetryAfterMs
  const retryAfter = setHeader(
    'retry-after',
    String(ceilSeconds(Math.min(waitMs, maxRetryAfterMs))),
  )
  return waitMs > maxRetryAfterMs
    ? [retryAfter, setHeader('x-should-retry', 'false')]
    : [retryAfter]
}

/** RFC 9110 §15.5.6: a 405 names what is allowed. */
function allowedMethods({ allowedMethods: methods }: Denial): readonly HeaderValueOption[] {
  return methods === undefined ? [] : [setHeader('allow', methods.join(', '))]
}
