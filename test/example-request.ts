import type { IncomingRequest } from '../src/request.js'

/** A chat as it comes off the wire. */
export function postOf(body: unknown, changes: Partial<IncomingRequest> = {}): IncomingRequest {
  return {
    streamId: '17',
    startedAt: '1.000000000',
    requestId: undefined,
    method: 'POST',
    path: '/v1/chat/completions',
    headers: new Map([
      ['authorization', ['Bearer good']],
      ['content-type', ['application/json']],
    ]),
    body: body === undefined ? undefined : Buffer.from(JSON.stringify(body)),
    peer: '',
    context: {},
    signal: new AbortController().signal,
    ...changes,
  }
}
