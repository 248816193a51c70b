import { deny, isDenial, safeName } from '../denial.js'
import type { Denial } from '../denial.js'
import type { Headers } from '../headers.js'
import type { IncomingRequest } from '../request.js'
import { readHeaders } from './request-headers.js'
import { readPath } from './request-path.js'
import type { CheckRequest, HttpRequest, Timestamp } from './wire.js'

/**
 * A Check as Envoy sent it. With a `fault` it is refused before anything is asked; the request then only says what
 * a record needs, with a printable path, no headers and no body.
 */
export interface ReadCheck {
  readonly request: IncomingRequest
  readonly fault: Denial | undefined
}

/**
 * Reads a `CheckRequest`. Of each thing that Envoy can send in two shapes, either is taken: `header_map` or
 * `headers`, `raw_body` or `body`. Whatever two servers could read differently is refused, not repaired.
 *
 * @param signal fires when Envoy gave the call up or its deadline passed
 */
export function toIncomingRequest(check: CheckRequest, signal: AbortSignal): ReadCheck {
  const { source, request, contextExtensions } = check.attributes ?? {}
  const http = request?.http ?? {}
  const about: Envelope = {
    streamId: http.id ?? '',
    startedAt: readTime(request?.time),
    peer: source?.principal ?? '',
    context: contextExtensions ?? {},
    signal,
  }

  const path = readPath(http.path ?? '')
  if (typeof path !== 'string') return refuse(about, http, path)
  const read = readHeaders(http)
  if (isDenial(read)) return refuse(about, http, read)
  const { headers, pseudo } = read
  if (!agrees(pseudo.get(':method'), http.method) || !agrees(pseudo.get(':path'), http.path)) {
    const message = 'The request line and the headers name different things.'
    return refuse(about, http, deny('headers_invalid', message))
  }
  const body = readBody(http)
  const bodyFault = checkBody(headers, body)
  if (bodyFault !== undefined) return refuse(about, http, bodyFault)

  return {
    // Field by field: a spread with more fields after it costs 5 µs on Node 20 (measured), a tenth of a no-op Check.
    request: {
      streamId: about.streamId,
      startedAt: about.startedAt,
      requestId: readRequestId(headers),
      method: http.method ?? '',
      path,
      headers,
      body,
      peer: about.peer,
      context: about.context,
      signal,
    },
    fault: undefined,
  }
}

/** What Envoy itself says of a request, the client's words apart. */
type Envelope = Pick<IncomingRequest, 'streamId' | 'startedAt' | 'peer' | 'context' | 'signal'>

/** What a record needs of a request that was refused unread. */
function refuse(about: Envelope, http: HttpRequest, fault: Denial): ReadCheck {
  return {
    request: {
      ...about,
      requestId: undefined,
      method: safeName(http.method ?? ''),
      path: safeName((http.path ?? '').split('?', 1)[0] ?? ''),
      headers: new Map(),
      body: undefined,
    },
    fault,
  }
}

/** A pseudo header is a copy of what Envoy says beside it; missing, it says nothing. */
function agrees(pseudo: string | undefined, value: string | undefined): boolean {
  return pseudo === undefined || pseudo === (value ?? '')
}

/** `seconds.nanoseconds`, so that text order is not time order but equality is exact; empty when unknown. */
function readTime(time: Timestamp | undefined): string {
  if (time === undefined) return ''
  return `${String(time.seconds ?? 0)}.${String(time.nanos ?? 0).padStart(9, '0')}`
}

function readRequestId(headers: Headers): string | undefined {
  const values = headers.get('x-request-id')
  return values?.length === 1 && values[0] !== undefined ? safeName(values[0]) : undefined
}

/**
 * `raw_body` holds the very bytes; `body` is a copy in which Envoy put `!` for each byte that is no UTF-8, taken
 * only where the filter is not set to `pack_as_bytes`. Undefined when Envoy buffered none.
 */
function readBody(http: HttpRequest): Uint8Array | undefined {
  if (http.rawBody !== undefined && http.rawBody.length > 0) return http.rawBody
  if (http.body !== undefined && http.body !== '') return Buffer.from(http.body, 'utf8')
  return undefined
}

/**
 * Is this the whole body? Part of one is refused, never inspected as if it were all: the rest would go upstream
 * unread. A missing body passes, since Envoy buffers none for callers without a credential.
 */
function checkBody(headers: Headers, body: Uint8Array | undefined): Denial | undefined {
  // Envoy drops a client's own copy of this header and adds its own when it buffered.
  const partial = headers.get('x-envoy-auth-partial-body') ?? []
  if (partial.some((value) => value.trim().toLowerCase() !== 'false')) {
    return deny('body_too_large', 'The body is larger than what can be inspected. Send less.')
  }
  const lengths = headers.get('content-length')
  if (lengths === undefined) return undefined
  const [length] = lengths
  // RFC 9112 §6.3: lengths that differ, or are none, are an attack on whoever believes one of them.
  if (lengths.length !== 1 || length === undefined || !/^[0-9]{1,15}$/.test(length)) {
    return deny('headers_invalid', 'Send one content-length, in decimal digits.')
  }
  if (body !== undefined && Number(length) !== body.length) {
    return deny('headers_invalid', 'The body is not as long as content-length says.')
  }
  return undefined
}
