import { readFile } from 'node:fs/promises'
import { createServer } from 'node:https'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { TLSSocket } from 'node:tls'
import type { Behaviour } from './behaviour.js'
import type { KeyPairFiles } from './certificates.js'
import { answerAnthropic, answerOpenAi } from './generation.js'
import type { Generation } from './generation.js'

/** One request as the node received it, and what it generated for it, whether or not anybody waited for it. */
export interface ServedRequest {
  readonly path: string
  readonly headers: IncomingMessage['headers']
  readonly body: string
  readonly generation: Generation
}

export interface GpuNode {
  readonly pool: string
  readonly port: number
  /** Every request but those for `/health`, in the order of their arrival. */
  readonly served: readonly ServedRequest[]
  /** How it answers from now on. */
  behave(behaviour: Behaviour): void
  /** Lets go what waits, and what would. */
  release(): void
  /** Refuses connections until `reopen`; those under way are cut. */
  refuse(): Promise<void>
  reopen(): Promise<void>
  close(): Promise<void>
}

export interface GpuNodeOptions {
  readonly pool: string
  /** 0: any free one. */
  readonly port: number
  readonly models: readonly string[]
  readonly certificate: KeyPairFiles
  readonly authorityFile: string
  /** The one client identity that may call: a SPIFFE URI. */
  readonly acceptsIdentity: string
  /** From 0 to below 1, as `Math.random`. */
  readonly random: () => number
}

/** No engine takes more; Envoy's cap is 8 MiB, and the filters that add a cap may make a body longer. */
const MOST_BODY_BYTES = 9 * 1024 * 1024

/**
 * A stand-in for an inference engine on a GPU node: HTTPS with client certificates, OpenAI and Anthropic answers,
 * whole or streamed. What it generates is random words, as many as it says in its usage.
 */
export async function startGpuNode(options: GpuNodeOptions): Promise<GpuNode> {
  const served: ServedRequest[] = []
  let behaviour: Behaviour = {}
  let gate = createGate()

  const server = createServer(
    {
      cert: await readFile(options.certificate.certificateFile),
      key: await readFile(options.certificate.keyFile),
      ca: await readFile(options.authorityFile),
      requestCert: true,
      rejectUnauthorized: true,
      minVersion: 'TLSv1.3',
    },
    (request, response) => {
      serve(request, response).catch((cause: unknown) => {
        // Not a test's expectation and not the client's doing: let it be seen.
        console.error(`the ${options.pool} node failed:`, cause)
        response.destroy()
      })
    },
  )
  server.keepAliveTimeout = 60_000

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    // Any certificate of the authority passes the handshake; only Envoy's identity is let in.
    if (!identitiesOf(request.socket as TLSSocket).includes(options.acceptsIdentity)) {
      request.socket.destroy()
      return
    }
    const path = (request.url ?? '').split('?')[0] ?? ''
    if (path === '/health') {
      response.end()
      return
    }
    const body = await readBody(request)
    if (path === '/v1/models') {
      const data = options.models.map((id) => ({ id, object: 'model', owned_by: options.pool }))
      answerJson(response, 200, { object: 'list', data })
      return
    }
    const { current, wait } = { current: behaviour, wait: gate.wait }
    const generation: Generation = {
      inputTokens: 0,
      cachedTokens: 0,
      cacheWriteTokens: 0,
      outputTokens: 0,
      reasoningTokens: 0,
      finished: false,
      clientLeft: false,
    }
    served.push({ path, headers: request.headers, body, generation })
    response.once('close', () => {
      if (!response.writableFinished) generation.clientLeft = true
    })

    if (current.refuseWithStatus !== undefined) {
      const error = { message: 'The engine is full.', type: 'server_error', code: 'engine_full' }
      answerJson(response, current.refuseWithStatus, { error })
      return
    }
    const ask: unknown = JSON.parse(body)
    if (!isRecord(ask) || !options.models.includes(String(ask['model']))) {
      const error = { message: 'This node does not serve the model.', code: 'model_not_found' }
      answerJson(response, 404, { error })
      return
    }
    if (current.hold === true) await wait
    const answer = path === '/v1/messages' ? answerAnthropic : answerOpenAi
    await answer({
      path,
      ask,
      response,
      behaviour: current,
      gate: wait,
      generation,
      acceptsGzip: String(request.headers['accept-encoding'] ?? '').includes('gzip'),
      random: options.random,
    })
  }

  let port = options.port
  const listen = async (): Promise<void> => {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(port, '127.0.0.1', () => {
        server.removeListener('error', reject)
        resolve()
      })
    })
    port = (server.address() as AddressInfo).port
  }
  const shut = async (): Promise<void> => {
    const closed = new Promise<void>((resolve) => {
      server.close(() => {
        resolve()
      })
    })
    server.closeAllConnections()
    await closed
  }
  await listen()

  const release = (): void => {
    gate.open()
    gate = createGate()
    behaviour = {}
  }
  return {
    pool: options.pool,
    get port() {
      return port
    },
    served,
    behave(next) {
      behaviour = next
    },
    release,
    refuse: shut,
    reopen: listen,
    async close() {
      release()
      if (server.listening) await shut()
    },
  }
}

function createGate(): { readonly wait: Promise<void>; readonly open: () => void } {
  let open = (): void => undefined
  const wait = new Promise<void>((resolve) => {
    open = resolve
  })
  return { wait, open }
}

/** The URI names of the peer's certificate. */
function identitiesOf(socket: TLSSocket): readonly string[] {
  const names = socket.getPeerCertificate().subjectaltname ?? ''
  return names
    .split(', ')
    .filter((name) => name.startsWith('URI:'))
    .map((name) => name.slice('URI:'.length))
}

async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes > MOST_BODY_BYTES)
      throw new Error('the request is larger than any that Envoy lets pass')
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}

function answerJson(response: ServerResponse, status: number, value: unknown): void {
  const text = JSON.stringify(value)
  response.writeHead(status, {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(text),
  })
  response.end(text)
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
