import { randomBytes } from 'node:crypto'
import { Client, credentials as channelCredentials } from '@grpc/grpc-js'
import { authorizationService } from '../src/envoy/protos.js'

const words =
  'the model writes a short report about weather in spring and asks whether rivers carry more water after snow melts in high valleys while farmers wait for rain and plan their work around market days'.split(
    ' ',
  )

/** English-like text of about `bytes`, another one each time: no cache can know it. */
export function prompt(bytes: number): string {
  const random = randomBytes(Math.ceil(bytes / 4))
  let text = ''
  for (const byte of random) {
    if (text.length >= bytes) break
    text += `${words[byte % words.length] ?? 'the'}${byte > 240 ? '. ' : ' '}`
  }
  return text
}

/** A CheckRequest as Envoy sends one, with raw headers and a raw body. */
export function checkRequest(stream: number, credential: string, content: string): Buffer {
  const body = Buffer.from(
    JSON.stringify({
      model: 'llama-70b',
      max_tokens: 200,
      temperature: 0.7,
      messages: [
        { role: 'system', content: 'You are a helpful assistant.' },
        { role: 'user', content },
      ],
    }),
  )
  const header = (key: string, value: string) => ({ key, rawValue: Buffer.from(value) })
  return authorizationService.Check.requestSerialize({
    attributes: {
      source: { principal: '' },
      request: {
        time: { seconds: 1_800_000_000, nanos: stream % 1_000_000_000 },
        http: {
          id: `${String(process.pid)}${String(stream)}`,
          method: 'POST',
          path: '/v1/chat/completions',
          rawBody: body,
          headerMap: {
            headers: [
              header(':method', 'POST'),
              header(':path', '/v1/chat/completions'),
              header(':authority', 'llm.example'),
              header(':scheme', 'https'),
              header('authorization', `Bearer ${credential}`),
              header('content-type', 'application/json'),
              header('content-length', String(body.length)),
              header('user-agent', 'OpenAI/Python 1.99.0'),
              header('accept', 'application/json'),
              header('x-request-id', `request-${String(stream)}`),
              header('x-forwarded-for', '10.1.2.3'),
              header('x-forwarded-proto', 'https'),
            ],
          },
        },
      },
    },
  })
}

export interface Load {
  /** Sends every request, `inFlight` at a time; how many were answered with an error, and how long each took. */
  send(
    requests: readonly Buffer[],
    inFlight: number,
  ): Promise<{ failed: number; latenciesMs: readonly number[] }>
  close(): void
}

export function connect(address: string): Load {
  const client = new Client(address, channelCredentials.createInsecure(), {
    'grpc.enable_channelz': 0,
    'grpc.max_send_message_length': -1,
  })
  const same = (bytes: Buffer): Buffer => bytes
  const check = (request: Buffer): Promise<boolean> =>
    new Promise((resolve) => {
      client.makeUnaryRequest(
        authorizationService.Check.path,
        same,
        same,
        request,
        (error: unknown) => {
          resolve(error === null)
        },
      )
    })
  return {
    async send(requests, inFlight) {
      let next = 0
      let failed = 0
      const latenciesMs: number[] = []
      const lane = async (): Promise<void> => {
        for (;;) {
          const request = requests[next]
          if (request === undefined) return
          next += 1
          const sentMs = performance.now()
          if (!(await check(request))) failed += 1
          latenciesMs.push(performance.now() - sentMs)
        }
      }
      await Promise.all(Array.from({ length: inFlight }, lane))
      return { failed, latenciesMs }
    },
    close() {
      client.close()
    },
  }
}
