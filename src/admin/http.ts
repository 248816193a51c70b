import { createServer } from 'node:http'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { formatAddress } from '../config/address.js'
import type { ListenAddress } from '../config/address.js'
import { removeStaleSocket } from '../stale-socket.js'
import { KIB_BYTES } from '../units.js'

export interface HttpListener {
  /** As given, with the port that the system chose for port 0. */
  readonly address: string
  stop(): Promise<void>
}

export interface Answer {
  readonly status: number
  readonly contentType: string
  readonly body: string
}

type Page = (query: URLSearchParams) => Answer | Promise<Answer>

/** A page, or what takes a body. */
export type Route = Page | { readonly post: (body: string) => Promise<Answer> }

export function text(status: number, body: string): Answer {
  return { status, contentType: 'text/plain; charset=utf-8', body: `${body}\n` }
}

const maxConnections = 64

/** Answers the routes, and nothing else. */
export async function listenHttp(
  address: ListenAddress,
  routes: Readonly<Record<string, Route>>,
): Promise<HttpListener> {
  const server = createServer(
    // For the head of a request too. It is looked at once per interval, which is 30 s unless told otherwise.
    { requestTimeout: 5_000, connectionsCheckingInterval: 1_000 },
    (request, response) => {
      void answer(request, response, routes)
    },
  )
  boundConnections(server, maxConnections)
  await bind(server, address)
  const bound = server.address()
  return {
    address: formatAddress(
      address.kind === 'tcp' && typeof bound === 'object' && bound !== null
        ? { ...address, port: bound.port }
        : address,
    ),
    stop: () =>
      new Promise((resolve) => {
        server.close(() => {
          resolve()
        })
        server.closeAllConnections()
      }),
  }
}

/**
 * A new connection beyond the bound takes the place of the one that has been idle longest: whoever holds connections
 * and asks for nothing keeps no probe out. Where all are being answered, the one that asked first makes room.
 */
function boundConnections(server: Server, max: number): void {
  // Sets keep the order in which their members came.
  const idle = new Set<Socket>()
  const answered = new Set<Socket>()
  const forget = (socket: Socket): void => {
    idle.delete(socket)
    answered.delete(socket)
  }
  server.on('connection', (socket: Socket) => {
    if (idle.size + answered.size >= max) {
      const [oldest] = [...idle, ...answered]
      if (oldest !== undefined) {
        forget(oldest)
        oldest.destroy()
      }
    }
    idle.add(socket)
    socket.once('close', () => {
      forget(socket)
    })
  })
  server.on('request', ({ socket }, response) => {
    idle.delete(socket)
    answered.add(socket)
    response.once('close', () => {
      forget(socket)
      if (!socket.destroyed) idle.add(socket)
    })
  })
}

async function bind(server: Server, address: ListenAddress): Promise<void> {
  if (address.kind === 'unix') await removeStaleSocket(address.path)
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    if (address.kind === 'unix') server.listen(address.path, resolve)
    else server.listen(address.port, address.host, resolve)
  })
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  routes: Readonly<Record<string, Route>>,
): Promise<void> {
  const send = ({ status, contentType, body }: Answer): void => {
    response
      .writeHead(status, { 'content-type': contentType, 'cache-control': 'no-store' })
      .end(body)
  }
  try {
    const url = new URL(request.url ?? '/', 'http://admin.invalid')
    const route = Object.hasOwn(routes, url.pathname) ? routes[url.pathname] : undefined
    if (route === undefined) send(text(404, `try ${Object.keys(routes).join(', ')}`))
    else if (typeof route !== 'function') send(await answerPost(request, route.post))
    else if (request.method !== 'GET') send(text(405, 'GET only'))
    else send(await route(url.searchParams))
  } catch {
    send(text(500, 'failed'))
  }
}

/** The largest call that the rate limit service takes, with room for how JSON spells it. */
const MAX_POST_BYTES = 512 * KIB_BYTES

async function answerPost(
  request: IncomingMessage,
  post: (body: string) => Promise<Answer>,
): Promise<Answer> {
  if (request.method !== 'POST') return text(405, 'POST only')
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length
    // Read to its end, or the connection would go before the answer; the time for it is bounded.
    if (bytes <= MAX_POST_BYTES) chunks.push(chunk)
  }
  if (bytes > MAX_POST_BYTES) return text(413, 'too long')
  return post(Buffer.concat(chunks).toString('utf8'))
}
