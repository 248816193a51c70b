import { deny } from './denial.js'
import type { Denial } from './denial.js'
import { single } from './headers.js'
import type { IncomingRequest } from './request.js'

/**
 * Can the request be read at all? Model servers accept more encodings than inspection can follow (Python's
 * `json.loads` takes UTF-16 and UTF-32), so everything outside one strict form is refused, not "not inspected".
 */
export function checkShape(request: IncomingRequest, maxBodyBytes: number): Denial | undefined {
  if (request.method !== 'POST') {
    return deny('method_not_allowed', 'Use POST on this path.', { allowedMethods: ['POST'] })
  }

  if (request.body !== undefined && request.body.length > maxBodyBytes) {
    return deny('body_too_large', `Send at most ${String(maxBodyBytes)} bytes.`)
  }

  const encoding = single(request.headers, 'content-encoding')
  if (encoding !== undefined && encoding !== '' && encoding !== 'identity') {
    return deny('content_encoding_unsupported', 'Send the body without content-encoding.')
  }

  const type = single(request.headers, 'content-type')
  if (typeof type !== 'string' || !isJsonType(type)) {
    return deny('content_type_unsupported', 'Send the body as content-type application/json.')
  }
  return undefined
}

/** `application/json`, with no parameter but `charset=utf-8` (RFC 8259 §8.1 knows no other encoding). */
function isJsonType(value: string): boolean {
  const [type = '', ...parameters] = value.split(';').map((part) => part.trim().toLowerCase())
  if (type !== 'application/json') return false
  return parameters.every(
    (parameter) => parameter === 'charset=utf-8' || parameter === 'charset="utf-8"',
  )
}
