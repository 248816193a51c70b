import { status } from '@grpc/grpc-js'
import type { Client, MethodDefinition } from '@grpc/grpc-js'
import { authorizationService, rateLimitService } from '../src/envoy/protos.js'
import type { CheckRequest, CheckResponse } from '../src/envoy/wire.js'

// What Envoy asks of a running program, without Envoy.

/** The answer to a call, or the status of one that failed. */
export function call<Request, Response>(
  client: Client,
  method: MethodDefinition<Request, Response>,
  request: Request,
): Promise<Response | number> {
  return new Promise((resolve) => {
    client.makeUnaryRequest(
      method.path,
      method.requestSerialize,
      method.responseDeserialize,
      request,
      (error, response) => {
        resolve(error?.code ?? response ?? status.UNKNOWN)
      },
    )
  })
}

export function check(client: Client, request: CheckRequest): Promise<CheckResponse | number> {
  return call(client, authorizationService.Check, request)
}

/** A stream of its own for each id: ten tokens at most of the model `llama`. */
export function chatOf(credential: string, id: string): CheckRequest {
  const body = JSON.stringify({
    model: 'llama',
    max_tokens: 10,
    messages: [{ role: 'user', content: 'Good morning.' }],
  })
  const header = (key: string, value: string) => ({ key, rawValue: Buffer.from(value) })
  return {
    attributes: {
      request: {
        time: { seconds: 1, nanos: 1 },
        http: {
          id,
          method: 'POST',
          path: '/v1/chat/completions',
          rawBody: Buffer.from(body),
          headerMap: {
            headers: [
              header('authorization', `Bearer ${credential}`),
              header('content-type', 'application/json'),
            ],
          },
        },
      },
    },
  }
}

/** The reservation of an allow; undefined for a refusal, and for an allow without one. */
export function reservationOf(response: CheckResponse): string | undefined {
  if (!('okResponse' in response)) return undefined
  const reservation = response.dynamicMetadata?.fields?.['reservation']
  return reservation !== undefined && 'stringValue' in reservation
    ? reservation.stringValue
    : undefined
}

/** The report of a stream that is over. @returns the status of the call */
export async function report(
  client: Client,
  reservation: string,
  figures: Readonly<Record<string, number>>,
): Promise<number> {
  const descriptors = Object.entries(figures).map(([name, value]) => ({
    entries: [
      { key: 'reservation', value: reservation },
      { key: 'report', value: name },
    ],
    hitsAddend: { value },
  }))
  const answer = await call(client, rateLimitService.ShouldRateLimit, {
    domain: 'tollgate',
    descriptors,
  })
  return typeof answer === 'number' ? answer : status.OK
}
