/**
 * Why a request was refused. One closed list: it is the error code the caller sees, the field of the
 * audit record and the label of the metric. The number is the HTTP status of the refusal.
 */
export const denialStatus = {
  // what was sent
  path_invalid: 400,
  route_unknown: 404,
  method_not_allowed: 405,
  headers_invalid: 400,
  content_type_unsupported: 415,
  content_encoding_unsupported: 415,
  body_missing: 400,
  body_unexpected: 400,
  body_too_large: 413,
  json_invalid: 400,
  request_invalid: 400,
  field_unknown: 400,

  // who sent it
  credential_missing: 401,
  credential_ambiguous: 401,
  credential_malformed: 401,
  credential_too_large: 401,
  credential_invalid: 401,
  credential_expired: 401,
  credential_not_yet_valid: 401,
  credential_bound: 401,
  issuer_unknown: 401,
  algorithm_refused: 401,
  audience_mismatch: 401,
  claims_invalid: 401,

  // what the caller may ask for
  path_not_granted: 403,
  model_not_granted: 403,
  field_not_granted: 403,
  output_cap_too_large: 400,
  output_cap_required: 400,
  stream_usage_required: 400,

  // what the prompt says
  prompt_injection: 400,
  control_tokens: 400,
  secret_found: 400,
  personal_data_found: 400,
  prohibited_content: 400,

  // how much
  quota_exhausted: 429,
  too_many_prompts: 429,
  request_exceeds_quota: 400,
  quota_store_unavailable: 503,
} as const satisfies Record<string, number>

export type Reason = keyof typeof denialStatus

/**
 * A refusal as a value.
 *
 * `message` goes to the caller and says what to do next; it never holds a credential, a claim value or a
 * text of the prompt. It may name a field of the request, shortened and printable (`safeName`).
 * `detail` goes to the operator's log and record; the same rule holds for it.
 */
export interface Denial {
  readonly kind: 'denied'
  readonly reason: Reason
  readonly message: string
  readonly detail?: string
  /** Name of the request field at fault, as `messages[2].content`; for the caller's error body. */
  readonly param?: string
  /** When the same request may succeed; only with a 429 or a 503. */
  readonly retryAfterMs?: number
  /** What the path takes instead; only with `method_not_allowed`, which must say it (RFC 9110 §15.5.6). */
  readonly allowedMethods?: readonly string[]
  /** Name of the quota that was short, or could not be asked. */
  readonly quota?: string
  /** Why it could not be asked; only with `quota_store_unavailable`. */
  readonly storeFailure?: 'store' | 'share' | 'full'
}

export type DenialExtras = Omit<Denial, 'kind' | 'reason' | 'message'>

export function deny(reason: Reason, message: string, extras: DenialExtras = {}): Denial {
  return { kind: 'denied', reason, message, ...extras }
}

/** Tells a refusal from any other answer; every answer type that can be one has a `kind` or lacks it. */
export function isDenial(value: object): value is Denial {
  return 'kind' in value && value.kind === 'denied'
}

/** A name from the request, made fit for an error body or a header: printable ASCII, at most 64 characters. */
export function safeName(name: string): string {
  const shortened = name.length > 64 ? `${name.slice(0, 61)}...` : name
  return shortened.replace(/[^\x20-\x7e]|["\\]/g, '?')
}
