import { createServer } from 'node:http'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Admission } from './admission.js'
import type { Clock } from './clock.js'
import { formatAddress } from './config/address.js'
import type { ListenAddress } from './config/address.js'
import { requestFromJson, responseToJson } from './envoy/rate-limit-json.js'
import type { RateLimitService } from './envoy/rate-limit-service.js'
import { reportDomain } from './envoy/report.js'
import { InvalidCallError } from './errors.js'
import { findModel } from './policy.js'
import type { Policy } from './policy.js'
import type { GuardedLedger } from './quota/guarded-ledger.js'
import { describePartition, partitionKey } from './quota/keys.js'
import type { PartitionedCaller, PartitionValue } from './quota/keys.js'
import type { Balance } from './quota/ledger.js'
import { quotaFor } from './quota/limits.js'
import { claimOf, plainDimensions } from './quota/quota.js'
import type { PartitionDimension, Quota } from './quota/quota.js'
import { formatAmount } from './quota/units.js'
import { dumpConfig } from './ratelimit/dump.js'
import type { RateLimitConfig } from './ratelimit/tree.js'
import { removeStaleSocket } from './stale-socket.js'
import type { Metrics } from './telemetry/metrics.js'
import { KIB_BYTES } from './units.js'

export interface HttpListener {
  /** As given, with the port that the system chose for port 0. */
  readonly address: string
  stop(): Promise<void>
}

interface Answer {
  readonly status: number
  readonly contentType: string
  readonly body: string
}

type Page = (query: URLSearchParams) => Answer | Promise<Answer>

/** A page, or what takes a body. */
type Route = Page | { readonly post: (body: string) => Promise<Answer> }

export interface HealthParts {
  readonly metrics: Metrics
  /** May requests be sent here? */
  readonly ready: () => boolean
}

/** For the pod address: what a probe and a scraper need, and nothing that names a caller. */
export function listenForProbes(address: ListenAddress, parts: HealthParts): Promise<HttpListener> {
  return listenHttp(address, {
    '/metrics': async () => ({
      status: 200,
      contentType: parts.metrics.contentType,
      body: await parts.metrics.render(),
    }),
    // The event loop turned, or nobody would answer.
    '/healthz': () => text(200, 'ok'),
    '/readyz': () => (parts.ready() ? text(200, 'ready') : text(503, 'not ready')),
  })
}

export interface UsageParts {
  readonly policy: () => Policy
  readonly ledger: GuardedLedger<Admission>
  readonly clock: Clock
}

export interface RateLimitPages {
  readonly service: RateLimitService
  readonly config: () => RateLimitConfig | undefined
  /** May calls be sent here? */
  readonly isServing: () => boolean
  /** A call failed. */
  readonly onFailure: (error: unknown) => void
}

/**
 * For loopback or a Unix socket only: it names callers.
 *
 * @param rateLimits undefined: there is no rate limit service
 */
export function listenForAdmin(
  address: ListenAddress,
  parts: UsageParts,
  rateLimits?: RateLimitPages,
): Promise<HttpListener> {
  return listenHttp(address, {
    '/usage': (query) => usage(query, parts),
    ...(rateLimits === undefined ? {} : rateLimitRoutes(rateLimits)),
  })
}

/** Paths and answers are those of envoyproxy/ratelimit, which has them on two ports. */
function rateLimitRoutes(pages: RateLimitPages): Readonly<Record<string, Route>> {
  return {
    '/json': { post: (body) => rateLimitJson(body, pages) },
    '/rlconfig': () => {
      const config = pages.config()
      const body = config === undefined ? '' : dumpConfig(config)
      return { status: 200, contentType: 'text/plain; charset=utf-8', body }
    },
    '/healthcheck': () => (pages.isServing() ? text(200, 'OK') : text(500, '')),
  }
}

/** One call of the rate limit service, for who speaks no gRPC. */
async function rateLimitJson(
  body: string,
  { service, onFailure }: RateLimitPages,
): Promise<Answer> {
  try {
    const request = requestFromJson(body)
    if (request.domain === reportDomain) return text(400, 'reports come by gRPC')
    const response = await service.answer(request)
    const status = response.overallCode === 'OK' ? 200 : 429
    return { status, contentType: 'application/json', body: responseToJson(response) }
  } catch (error) {
    onFailure(error)
    // What an InvalidCallError says holds nothing of the call.
    if (error instanceof InvalidCallError) return text(400, error.message)
    return text(503, 'the call failed')
  }
}

const usageParameters: readonly string[] = plainDimensions

/**
 * What each quota has left for one caller and what was spent. A quota that counts by more than the query names
 * is listed with the parameters it still needs.
 */
async function usage(query: URLSearchParams, parts: UsageParts): Promise<Answer> {
  const tenant = query.get('tenant')
  if (tenant === null || tenant === '') {
    const others = usageParameters.filter((name) => name !== 'tenant').map((name) => `[&${name}=]`)
    return text(400, `usage: /usage?tenant=TENANT${others.join('')}[&claim:NAME=]`)
  }
  const claims = claimsOf(query)
  const unknown = [...query.keys()].find(
    (name) => !usageParameters.includes(name) && !name.startsWith('claim:'),
  )
  if (unknown !== undefined) {
    return text(400, `unknown parameter; it takes ${usageParameters.join(', ')}, claim:NAME`)
  }
  const policy = parts.policy()
  const asked = query.get('model') ?? ''
  const model = findModel(policy, asked)
  const pool = query.get('pool') ?? model?.pool
  const rows = await Promise.all(
    policy.quotas.map(async (quota) => {
      const needs = quota.by.filter(
        (dimension) => !isNamed(dimension, query) && !(dimension === 'pool' && pool !== undefined),
      )
      if (needs.length > 0) return { ...describe(quota), needs }
      const caller = {
        tenant,
        subject: query.get('subject') ?? '',
        client: query.get('client') ?? undefined,
        groups: query.getAll('group'),
        // Spending is kept under the model's name, by whichever of its names it was asked for.
        model: model?.name ?? asked,
        pool: pool ?? '',
        route: query.get('route') ?? '',
        spiffe: query.get('spiffe') ?? undefined,
        claims,
      }
      const own = quotaFor(quota, caller)
      const hold = { quota: own, partitionKey: partitionKey(own, caller), amount: 0 }
      const [balance] = await parts.ledger.balances([hold], parts.clock.nowEpochMs())
      return {
        ...describe(own),
        partition: describePartition(quota, caller),
        ...(balance === undefined ? {} : figures(balance)),
      }
    }),
  )
  const body = JSON.stringify(
    { tenant, subject: query.get('subject'), policyGeneration: policy.generation, quotas: rows },
    null,
    2,
  )
  return { status: 200, contentType: 'application/json', body: `${body}\n` }
}

/** A caller may be without these: those count in a partition of their own when they are not named. */
const mayBeAbsent: readonly PartitionDimension[] = ['client', 'group', 'spiffe']

function isNamed(dimension: PartitionDimension, query: URLSearchParams): boolean {
  return mayBeAbsent.includes(dimension) || claimOf(dimension) !== undefined || query.has(dimension)
}

/** `claim:level=3` is the number, `claim:level="3"` and `claim:level=three` are texts. */
function claimsOf(query: URLSearchParams): PartitionedCaller['claims'] {
  const claims = new Map<string, PartitionValue>()
  for (const [name, written] of query) {
    if (name.startsWith('claim:')) claims.set(name.slice('claim:'.length), valueOf(written))
  }
  return claims
}

function valueOf(written: string): PartitionValue {
  let value: unknown
  try {
    value = JSON.parse(written)
  } catch {
    return written
  }
  const isValue = ['string', 'number', 'boolean'].includes(typeof value)
  return isValue ? (value as PartitionValue) : written
}

function describe(quota: Quota) {
  return {
    quota: quota.name,
    unit: quota.unit,
    limit: figure(quota, quota.limit),
    window: quota.window,
    by: quota.by,
    shadow: quota.shadow,
  }
}

function figures({ quota, spent, reserved, debt, remaining, resetMs }: Balance) {
  return {
    spent: figure(quota, spent),
    reserved: figure(quota, reserved),
    debt: figure(quota, debt),
    remaining: figure(quota, remaining),
    resetMs,
  }
}

/** As the policy writes it: money in its currency. */
function figure({ unit }: Quota, amount: number): number {
  return Number(formatAmount(unit, amount))
}

function text(status: number, body: string): Answer {
  return { status, contentType: 'text/plain; charset=utf-8', body: `${body}\n` }
}

const maxConnections = 64

async function listenHttp(
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
