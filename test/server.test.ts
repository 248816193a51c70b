import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { once } from 'node:events'
import { connect, constants } from 'node:http2'
import type { ClientHttp2Session, ClientHttp2Stream } from 'node:http2'
import { connect as connectSocket, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Client, credentials, status } from '@grpc/grpc-js'
import type { ChannelCredentials, ServiceError } from '@grpc/grpc-js'
import { service as healthService } from 'grpc-health-check'
import { afterEach, beforeAll, describe, expect, test } from 'vitest'
import { createCertificates, envoyIdentity } from '../deploy/demo/certificates.js'
import type { DemoCertificates, KeyPairFiles } from '../deploy/demo/certificates.js'
import type { Admission } from '../src/admission.js'
import type { Decision } from '../src/decision.js'
import { systemClock } from '../src/clock.js'
import type { Clock } from '../src/clock.js'
import { formatAddress } from '../src/config/address.js'
import type { ListenAddress } from '../src/config/address.js'
import { authorizationService, rateLimitService } from '../src/envoy/protos.js'
import { createRateLimitService } from '../src/envoy/rate-limit-service.js'
import type { CheckResponse, RateLimitRequest, RateLimitResponse } from '../src/envoy/wire.js'
import { ComingError, DependencyError } from '../src/errors.js'
import { createLateReports } from '../src/late-reports.js'
import { listen } from '../src/listen.js'
import type { GrpcTls, Listener } from '../src/listen.js'
import { createGenerationRates } from '../src/llm/generation-rate.js'
import type { EndedReservation, Report } from '../src/meter.js'
import { createInlineReader } from '../src/prompt/inline.js'
import type { PromptReader } from '../src/prompt/prompt.js'
import { createMemoryLedger } from '../src/quota/memory/memory-ledger.js'
import { createServices } from '../src/server.js'
import type { ServiceParts } from '../src/server.js'
import { createMemoryCounters } from '../src/ratelimit/memory-counters.js'
import { buildConfig } from '../src/ratelimit/tree.js'
import type { RateLimitConfig } from '../src/ratelimit/tree.js'
import type { Recorder } from '../src/telemetry/record.js'
import { HOUR_MS } from '../src/units.js'
import { alice, asAlice, examplePolicy } from './example-policy.js'
import { at } from './ratelimit/rig.js'

let prompts: PromptReader
let directory: string
let certificates: DemoCertificates
beforeAll(async () => {
  prompts = createInlineReader({
    encodings: ['cl100k_base'],
    timeoutMs: 60_000,
    clock: systemClock,
  })
  directory = mkdtempSync(join(tmpdir(), 'tollgate-server-'))
  certificates = await createCertificates(directory, ['server'])
  return () => {
    rmSync(directory, { recursive: true })
  }
})

const open: { listener: Listener; client: Client }[] = []
afterEach(async () => {
  for (const { listener, client } of open.splice(0)) {
    client.close()
    await listener.stop(0)
  }
})

/** Resolved from outside, so that a test decides the order of events. */
function gate(): { readonly opened: Promise<void>; open(): void } {
  let release = (): void => undefined
  const opened = new Promise<void>((resolve) => {
    release = resolve
  })
  return { opened, open: release }
}

interface Rig {
  readonly client: Client
  readonly listener: Listener
  readonly decisions: Decision[]
  readonly ended: EndedReservation[]
  readonly failures: unknown[]
  /** Of the requests that failed. */
  readonly failedRequestIds: (string | undefined)[]
  readonly openReservations: () => number
  readonly socketPath: string
  readonly lateReports: () => number
}

interface RigOptions {
  readonly parts?: Partial<ServiceParts>
  readonly recorder?: Partial<Recorder>
  readonly address?: ListenAddress
  readonly tls?: GrpcTls
  readonly channel?: ChannelCredentials
  readonly maxBodyBytes?: number
}

let sockets = 0

async function rig(options: RigOptions = {}): Promise<Rig> {
  const ledger = createMemoryLedger<Admission>()
  const decisions: Decision[] = []
  const ended: EndedReservation[] = []
  const failures: unknown[] = []
  const failedRequestIds: (string | undefined)[] = []
  let ids = 0
  const lateReports = createLateReports()
  const services = createServices({
    snapshot: () => ({
      policy: examplePolicy(),
      authenticator: asAlice,
    }),
    prompts,
    ledger,
    rates: createGenerationRates(),
    clock: systemClock,
    randomId: () => `id-${String((ids += 1))}`,
    lateReports,
    recorder: {
      decision: async (decision) => {
        decisions.push(decision)
      },
      ended: async (reservation) => {
        ended.push(reservation)
      },
      report: () => undefined,
      upkeep: () => undefined,
      lifecycle: async () => undefined,
      failure: (_operation, error, requestId) => {
        failures.push(error)
        failedRequestIds.push(requestId)
      },
      ...options.recorder,
    },
    ...options.parts,
  })
  const path = join(directory, `${String((sockets += 1))}.sock`)
  const listener = await listen({
    address: options.address ?? { kind: 'unix', path },
    tls: options.tls,
    maxBodyBytes: options.maxBodyBytes ?? 100_000,
    maxConcurrentStreams: 100,
    addServices: (server, allowedSans) => {
      services.addTo(server, allowedSans)
    },
  })
  const target = formatAddress(listener.address)
  const client = new Client(target, options.channel ?? credentials.createInsecure(), {
    'grpc.ssl_target_name_override': 'server',
    'grpc.max_send_message_length': -1,
  })
  open.push({ listener, client })
  return {
    client,
    listener,
    decisions,
    ended,
    failures,
    failedRequestIds,
    socketPath: path,
    lateReports: () => lateReports.count(),
    openReservations: () => ledger.size().reservations,
  }
}

const chat = {
  model: 'llama-70b',
  max_tokens: 100,
  messages: [{ role: 'user', content: 'Good morning.' }],
}

function checkRequest(body: Buffer = Buffer.from(JSON.stringify(chat))) {
  const header = (key: string, value: string) => ({ key, rawValue: Buffer.from(value) })
  return {
    attributes: {
      request: {
        time: { seconds: 1, nanos: 1 },
        http: {
          id: '17',
          method: 'POST',
          path: '/v1/chat/completions',
          rawBody: body,
          headerMap: {
            headers: [
              header('authorization', 'Bearer good'),
              header('content-type', 'application/json'),
              header('content-length', String(body.length)),
              header('x-request-id', 'request-17'),
            ],
          },
        },
      },
    },
  }
}

interface Call<Response> {
  readonly done: Promise<{ error: ServiceError | null; response: Response | undefined }>
  cancel(): void
}

function call<Request, Response>(
  client: Client,
  method: {
    path: string
    requestSerialize: (value: Request) => Buffer
    responseDeserialize: (bytes: Buffer) => Response
  },
  request: Request,
  deadlineMs?: number,
): Call<Response> {
  let cancel = (): void => undefined
  const done = new Promise<{ error: ServiceError | null; response: Response | undefined }>(
    (resolve) => {
      const options = deadlineMs === undefined ? {} : { deadline: Date.now() + deadlineMs }
      const running = client.makeUnaryRequest(
        method.path,
        method.requestSerialize,
        method.responseDeserialize,
        request,
        options,
        (error, response) => {
          resolve({ error, response })
        },
      )
      cancel = () => {
        running.cancel()
      }
    },
  )
  return {
    done,
    cancel: () => {
      cancel()
    },
  }
}

function check(client: Client, deadlineMs?: number): Call<CheckResponse> {
  return call(client, authorizationService.Check, checkRequest(), deadlineMs)
}

function report(client: Client, reservation: string, domain = 'tollgate'): Call<RateLimitResponse> {
  const descriptor = (name: string, value: number) => ({
    entries: [
      { key: 'reservation', value: reservation },
      { key: 'report', value: name },
    ],
    hitsAddend: { value },
  })
  return call(client, rateLimitService.ShouldRateLimit, {
    domain,
    descriptors: [descriptor('input', 12), descriptor('output', 5), descriptor('end', 200)],
  })
}

function health(client: Client, service: string): Promise<string> {
  // proto-loader knows no message types.
  const method = healthService['Check'] as unknown as {
    path: string
    requestSerialize: (value: { service: string }) => Buffer
    responseDeserialize: (bytes: Buffer) => { status: string }
  }
  return call(client, method, { service }).done.then(({ error, response }) =>
    error === null ? (response?.status ?? '') : (status[error.code] ?? ''),
  )
}

/** Resolves when the call of a decision is over. */
function aborted({ request: { signal } }: Decision): Promise<void> {
  return new Promise((resolve) => {
    signal.addEventListener('abort', () => {
      resolve()
    })
  })
}

/** A Check without a client of gRPC, whose own ideas of a call come between. */
function rawCheck(
  it: Rig,
  { initialWindowSize = 65_535, timeout = '10S' },
): { readonly stream: ClientHttp2Stream; readonly session: ClientHttp2Session } {
  const { path, requestSerialize } = authorizationService.Check
  const message = requestSerialize(checkRequest())
  const frame = Buffer.concat([Buffer.alloc(5), message])
  frame.writeUInt32BE(message.length, 1)
  const session = connect('http://localhost', {
    createConnection: () => connectSocket(it.socketPath),
    settings: { initialWindowSize },
  })
  const stream = session.request({
    ':method': 'POST',
    ':path': path,
    'content-type': 'application/grpc',
    'grpc-timeout': timeout,
    te: 'trailers',
  })
  // A stream that is reset tells its own side as well.
  stream.on('error', () => undefined)
  stream.end(frame)
  return { stream, session }
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 5))
}

describe('Check', () => {
  test('answers an allow, and its report ends the reservation', async () => {
    const it = await rig()
    const { response } = await check(it.client).done
    expect(response).toMatchObject({ okResponse: {} })
    expect(it.openReservations()).toBe(1)
    const verdict = it.decisions[0]?.verdict
    if (verdict?.kind !== 'allow' || verdict.reservation === undefined) throw new Error('no allow')
    // The decoder leaves enums as numbers: OK is 1.
    expect((await report(it.client, verdict.reservation.id).done).response).toMatchObject({
      overallCode: 1,
    })
    expect(it.ended.map(({ ended }) => ended.outcome)).toEqual(['settled'])
    expect(it.openReservations()).toBe(0)
  })

  test('answers a refusal with an explicit status, and never as a failure', async () => {
    const it = await rig()
    const { error, response } = await call(
      it.client,
      authorizationService.Check,
      checkRequest(Buffer.from('{')),
    ).done
    expect(error).toBeNull()
    expect(response).toMatchObject({
      status: { code: 3 },
      deniedResponse: { status: { code: 400 } },
    })
  })

  describe('together with others', () => {
    const COUNT = 50
    interface Differences {
      readonly aheadMs?: number
      /** Credentials are verified all at the same moment. */
      readonly isVerifiedAtOnce?: boolean
    }
    /** How many were begun, and how many read, in each turn of the event loop. */
    async function inTurns({ aheadMs = 0, isVerifiedAtOnce = false }: Differences = {}) {
      let monotonicMs = 0
      let turn = 0
      let isOver = false
      const tick = (): void => {
        turn += 1
        if (!isOver) setImmediate(tick)
      }
      const begun = new Map<number, number>()
      const read = new Map<number, number>()
      const count = (counts: Map<number, number>, takesMs: number): number => {
        monotonicMs += takesMs
        counts.set(turn, (counts.get(turn) ?? 0) + 1)
        return [...counts.values()].reduce((sum, more) => sum + more, 0)
      }
      const verified = gate()
      if (!isVerifiedAtOnce) verified.open()
      const authenticate = async () => {
        if (count(begun, isVerifiedAtOnce ? 0 : 1) === COUNT) verified.open()
        await verified.opened
        return alice
      }
      const it = await rig({
        parts: {
          clock: {
            nowEpochMs: () => Date.now() + aheadMs,
            monotonicMs: () => monotonicMs,
          },
          snapshot: () => ({
            policy: examplePolicy(),
            authenticator: { authenticate, ready: () => true, prefetch: async () => undefined },
          }),
          prompts: {
            ...prompts,
            open(arrived) {
              count(read, 1)
              return prompts.open(arrived)
            },
          },
        },
      })
      tick()
      const calls = Array.from({ length: COUNT }, () => check(it.client, HOUR_MS / 2).done)
      const outcomes = await Promise.all(calls)
      isOver = true
      const failed = outcomes.filter(({ error }) => error !== null)
      return { begun: [...begun.values()], read: [...read.values()], failed }
    }

    test('leaves turns of the event loop to whatever else comes', async () => {
      const { begun, failed } = await inTurns()
      expect(failed).toEqual([])
      expect(Math.max(...begun)).toBeLessThan(4)
    })

    test('does so once more where their credentials were verified at one moment', async () => {
      const { read, failed } = await inTurns({ isVerifiedAtOnce: true })
      expect(failed).toEqual([])
      expect(Math.max(...read)).toBeLessThan(4)
    })

    test('is not begun where it was given up before its turn came', async () => {
      const { begun, failed } = await inTurns({ aheadMs: HOUR_MS })
      expect(failed).not.toEqual([])
      expect(begun.reduce((sum, count) => sum + count, 0)).toBeLessThan(COUNT)
    })
  })

  test('decides an empty message, and does not let it pass', async () => {
    const it = await rig()
    const { response } = await call(it.client, authorizationService.Check, {}).done
    expect(response).toHaveProperty('deniedResponse')
  })

  test.each([
    ['a dependency', new DependencyError('identity_provider', 'no keys'), status.UNAVAILABLE],
    ['the program', new TypeError('secret-of-the-prompt'), status.INTERNAL],
  ])(
    'is a gRPC error when %s fails, which says nothing of the request',
    async (_name, thrown, code) => {
      const it = await rig({
        parts: {
          snapshot: () => ({
            policy: examplePolicy(),
            authenticator: {
              authenticate: () => Promise.reject(thrown),
              ready: () => true,
              prefetch: async () => undefined,
            },
          }),
        },
      })
      const { error, response } = await check(it.client).done
      expect(response).toBeUndefined()
      expect(error?.code).toBe(code)
      expect(error?.details).not.toContain('secret-of-the-prompt')
      expect(it.failures).toEqual([thrown])
      // What joins the failure to Envoy's access log, and to the header that the client got.
      expect(it.failedRequestIds).toEqual(['request-17'])
    },
  )

  test('gives back what it held when the record of an allow cannot be written', async () => {
    const it = await rig({
      recorder: { decision: () => Promise.reject(new DependencyError('audit', 'disk full')) },
    })
    const { error } = await check(it.client).done
    expect(error?.code).toBe(status.UNAVAILABLE)
    expect(it.ended.map(({ ended }) => ended.outcome)).toEqual(['released'])
    expect(it.openReservations()).toBe(0)
  })

  test('gives back what it held when Envoy gave the call up', async () => {
    const entered = gate()
    const it = await rig({
      recorder: {
        decision: (decision) => {
          entered.open()
          return aborted(decision)
        },
      },
    })
    const running = check(it.client)
    await entered.opened
    expect(it.openReservations()).toBe(1)
    running.cancel()
    expect((await running.done).error?.code).toBe(status.CANCELLED)
    await until(() => it.ended.length > 0)
    expect(it.ended.map(({ ended }) => ended.outcome)).toEqual(['released'])
    expect(it.openReservations()).toBe(0)
  })

  test('gives back what it held when the deadline passes before the answer', async () => {
    const it = await rig({ recorder: { decision: aborted } })
    const { error } = await check(it.client, 500).done
    expect([status.CANCELLED, status.DEADLINE_EXCEEDED]).toContain(error?.code)
    await until(() => it.ended.length > 0)
    expect(it.ended.map(({ ended }) => ended.outcome)).toEqual(['released'])
    expect(it.openReservations()).toBe(0)
  })

  test('gives back what it held when Envoy resets the call before it has read the answer', async () => {
    const it = await rig()
    // Without a window the answer's head comes, and the rest waits at the server.
    const { stream, session } = rawCheck(it, { initialWindowSize: 0 })
    await once(stream, 'response')
    expect(it.openReservations()).toBe(1)
    stream.close(constants.NGHTTP2_INTERNAL_ERROR)
    await until(() => it.ended.length > 0)
    session.destroy()
    expect(it.ended.map(({ ended }) => ended.outcome)).toEqual(['released'])
    expect(it.openReservations()).toBe(0)
  })

  test('gives up a little before the deadline, so that Envoy may still hear of it', async () => {
    const it = await rig({ recorder: { decision: aborted } })
    const { stream, session } = rawCheck(it, { timeout: '300m' })
    const [head] = (await once(stream, 'response')) as [Record<string, string>]
    session.destroy()
    // At the deadline itself grpc-js would answer DEADLINE_EXCEEDED, whatever is still held.
    expect(head['grpc-status']).toBe(String(status.CANCELLED))
    expect(it.ended.map(({ ended }) => ended.outcome)).toEqual(['released'])
  })

  test('holds the deadline against the clock that it was given', async () => {
    const anHourAhead: Clock = {
      ...systemClock,
      nowEpochMs: () => systemClock.nowEpochMs() + HOUR_MS,
    }
    const it = await rig({ parts: { clock: anHourAhead }, recorder: { decision: aborted } })
    const { error } = await check(it.client, HOUR_MS / 2).done
    expect(error?.code).toBe(status.CANCELLED)
    expect(it.ended.map(({ ended }) => ended.outcome)).toEqual(['released'])
  })

  test('without a deadline is not given up', async () => {
    const answered = gate()
    let decided = 0
    const it = await rig({
      recorder: {
        decision: async () => {
          decided += 1
          if (decided === 1) await answered.opened
        },
      },
    })
    const first = check(it.client)
    await until(() => decided === 1)
    // Whatever was due at once has had its turn when these are answered.
    for (let index = 0; index < 3; index += 1) {
      expect((await check(it.client).done).error).toBeNull()
    }
    answered.open()
    expect((await first.done).error).toBeNull()
  })

  test('says what could not be given back, beside the failure that led there', async () => {
    const operations: string[] = []
    const ledger: ServiceParts['ledger'] = {
      ...createMemoryLedger<Admission>(),
      abandon: () => Promise.reject(new DependencyError('ledger', 'away')),
    }
    const it = await rig({
      parts: { ledger },
      recorder: {
        decision: () => Promise.reject(new DependencyError('audit', 'disk full')),
        failure: (operation, error, requestId) => {
          operations.push(`${operation} ${(error as Error).message} ${requestId ?? ''}`)
        },
      },
    })
    const { error } = await check(it.client).done
    expect(error?.details).toBe('audit is unavailable')
    expect(operations).toEqual(['give_back away request-17', 'check disk full request-17'])
  })

  test('keeps the reservation of an answer that was delivered', async () => {
    const it = await rig()
    await check(it.client, 5000).done
    it.client.close()
    await new Promise((resolve) => setTimeout(resolve, 50))
    expect(it.ended).toEqual([])
    expect(it.openReservations()).toBe(1)
  })

  test('refuses a message larger than the body cap and what goes with it, and lives on', async () => {
    const it = await rig({ maxBodyBytes: 1000 })
    const large = await call(
      it.client,
      authorizationService.Check,
      checkRequest(Buffer.alloc(1000 + 256 * 1024, ' ')),
    ).done
    expect(large.error?.code).toBe(status.RESOURCE_EXHAUSTED)
    expect((await check(it.client).done).error).toBeNull()
  })
})

describe('the report', () => {
  test('in another domain is refused as a call, and ends nothing', async () => {
    const it = await rig()
    await check(it.client).done
    const { error } = await report(it.client, 'id-2', 'other').done
    expect(error?.code).toBe(status.INVALID_ARGUMENT)
    expect(it.openReservations()).toBe(1)
  })

  test('is counted by what it ended, also when that was nothing', async () => {
    const outcomes: unknown[] = []
    const it = await rig({
      recorder: { report: (reservation) => outcomes.push(reservation?.ended.outcome) },
    })
    await check(it.client).done
    // The first id is the decision's own, the second its reservation's.
    await report(it.client, 'id-2').done
    await report(it.client, 'id-2').done
    expect(outcomes).toEqual(['settled', undefined])
    expect(it.ended).toHaveLength(1)
  })

  test('that the ledger could not take is kept for another try, and one of another fault is not', async () => {
    const failing = (error: Error) =>
      rig({ parts: { ledger: { ...createMemoryLedger(), find: () => Promise.reject(error) } } })
    const away = await failing(new DependencyError('ledger', 'gone'))
    expect((await report(away.client, 'id-2').done).error?.code).toBe(status.UNAVAILABLE)
    expect(away.lateReports()).toBe(1)
    const broken = await failing(new TypeError('ours'))
    expect((await report(broken.client, 'id-2').done).error?.code).toBe(status.INTERNAL)
    expect(broken.lateReports()).toBe(0)
  })

  test('of a reservation that a shared ledger does not know yet is not counted where it is kept', async () => {
    const outcomes: unknown[] = []
    const kept: string[] = []
    const keep = ({ reservationId }: Report): boolean => kept.push(reservationId) === 1
    const recorder = { report: (ended: EndedReservation | undefined) => outcomes.push(ended) }
    const it = await rig({ parts: { earlyReports: { keep } }, recorder })
    expect((await report(it.client, 'of-another').done).error).toBeNull()
    expect([outcomes, kept]).toEqual([[], ['of-another']])
    expect((await report(it.client, 'a-second').done).error).toBeNull()
    expect([outcomes, kept]).toEqual([[undefined], ['of-another', 'a-second']])
    expect(it.lateReports()).toBe(0)
  })

  test('of a reservation that a shared ledger says to be coming has not failed, and is a late one', async () => {
    const kept: string[] = []
    const earlyReports = { keep: ({ reservationId }: Report) => kept.push(reservationId) > 0 }
    const find = () => Promise.reject(new ComingError('ledger', 'it comes'))
    const it = await rig({ parts: { ledger: { ...createMemoryLedger(), find }, earlyReports } })
    expect((await report(it.client, 'of-another').done).error).toBeNull()
    expect([kept, it.lateReports()]).toEqual([[], 1])
  })

  test('of an unknown reservation is taken, and ends nothing', async () => {
    const it = await rig()
    await check(it.client).done
    expect((await report(it.client, 'unknown').done).error).toBeNull()
    expect(it.ended).toEqual([])
    expect(it.openReservations()).toBe(1)
    // Nobody else reserves in this ledger.
    expect(it.lateReports()).toBe(0)
  })
})

describe('health', () => {
  const names = [
    '',
    'envoy.service.auth.v3.Authorization',
    'envoy.service.ratelimit.v3.RateLimitService',
  ]

  test('follows readiness, for the empty name and for each service', async () => {
    const it = await rig()
    expect(await Promise.all(names.map((name) => health(it.client, name)))).toEqual(
      names.map(() => 'NOT_SERVING'),
    )
    it.listener.setServing(true)
    expect(await Promise.all(names.map((name) => health(it.client, name)))).toEqual(
      names.map(() => 'SERVING'),
    )
    it.listener.setServing(false)
    expect(await health(it.client, '')).toBe('NOT_SERVING')
    expect(await health(it.client, 'other')).toBe('NOT_FOUND')
  })
})

describe('a TCP address', () => {
  const loopback: ListenAddress = { kind: 'tcp', host: '127.0.0.1', port: 0 }

  function tls(): GrpcTls {
    const server = certificates.nodes.get('server')
    if (server === undefined) throw new Error('no certificate')
    return {
      certFile: server.certificateFile,
      keyFile: server.keyFile,
      clientCaFile: certificates.authorityFile,
      allowedSans: [envoyIdentity],
    }
  }

  /** A channel that shows `pair`, and takes the server's certificate by its chain alone: it has a URI, no host name. */
  function channel(pair: KeyPairFiles | undefined): ChannelCredentials {
    return credentials.createSsl(
      readFileSync(certificates.authorityFile),
      pair === undefined ? null : readFileSync(pair.keyFile),
      pair === undefined ? null : readFileSync(pair.certificateFile),
      { checkServerIdentity: () => undefined },
    )
  }

  test.each(['0.0.0.0', '10.0.0.1', '::', 'tollgate.example'])(
    'beyond loopback (%s) without mutual TLS is refused before it listens',
    async (host) => {
      await expect(rig({ address: { kind: 'tcp', host, port: 0 } })).rejects.toThrow('mutual TLS')
    },
  )

  test('beyond loopback with TLS but nobody on its list is refused before it listens', async () => {
    const nobody = { ...tls(), allowedSans: [] }
    const address: ListenAddress = { kind: 'tcp', host: '0.0.0.0', port: 0 }
    await expect(rig({ address, tls: nobody })).rejects.toThrow('mutual TLS')
  })

  test('serves a peer whose certificate is on the list', async () => {
    const it = await rig({ address: loopback, tls: tls(), channel: channel(certificates.envoy) })
    expect((await check(it.client).done).response).toMatchObject({ okResponse: {} })
  })

  test('refuses a peer with another certificate of the same authority, for Check and report', async () => {
    const it = await rig({ address: loopback, tls: tls(), channel: channel(certificates.stranger) })
    expect((await check(it.client).done).error?.code).toBe(status.PERMISSION_DENIED)
    expect((await report(it.client, 'id-2').done).error?.code).toBe(status.PERMISSION_DENIED)
    expect(it.decisions).toEqual([])
  })

  test('takes no name that only begins as one on the list', async () => {
    const shorter = { ...tls(), allowedSans: [envoyIdentity.slice(0, -1), `${envoyIdentity}/2`] }
    const it = await rig({ address: loopback, tls: shorter, channel: channel(certificates.envoy) })
    expect((await check(it.client).done).error?.code).toBe(status.PERMISSION_DENIED)
  })

  test('refuses a peer without a certificate', async () => {
    const it = await rig({ address: loopback, tls: tls(), channel: channel(undefined) })
    expect((await check(it.client, 3000).done).error).not.toBeNull()
    expect(it.decisions).toEqual([])
  })
})

describe('a Unix socket', () => {
  test('that a killed process left behind is taken over', async () => {
    const path = join(directory, 'stale.sock')
    // What remains after SIGKILL: a socket file on which nobody listens.
    const { spawnSync } = await import('node:child_process')
    spawnSync(process.execPath, [
      '-e',
      `require('node:net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`,
    ])
    const it = await rig({ address: { kind: 'unix', path } })
    expect((await check(it.client).done).error).toBeNull()
  })

  test('on which another process answers is not taken from it', async () => {
    const path = join(directory, 'live.sock')
    const other = createServer().listen(path)
    await expect(rig({ address: { kind: 'unix', path } })).rejects.toThrow(
      'another process listens',
    )
    other.close()
  })

  test('never replaces a file that is no socket', async () => {
    const path = join(directory, 'precious')
    writeFileSync(path, 'data')
    await expect(rig({ address: { kind: 'unix', path } })).rejects.toThrow('not a socket')
    expect(readFileSync(path, 'utf8')).toBe('data')
  })
})

describe('the end', () => {
  test('lets calls under way finish', async () => {
    const [entered, released] = [gate(), gate()]
    const it = await rig({
      recorder: {
        decision: async () => {
          entered.open()
          await released.opened
        },
      },
    })
    const running = check(it.client)
    await entered.opened
    const stopped = it.listener.stop(10_000)
    released.open()
    expect((await running.done).error).toBeNull()
    await stopped
  })
})

describe('ShouldRateLimit in every other domain', () => {
  // In the middle of a second: what is left of a window is told rounded up (S3, S68).
  const clock = { ...systemClock, nowEpochMs: () => 1_000_000_700 }
  const counters = createMemoryCounters({ clock, stopWhenOver: false })
  const metadata = { text: 't', number: 1.5, flag: false, nothing: null, list: [2, { x: true }] }
  const limits = buildConfig([
    {
      domain: 'edge',
      descriptors: [at('k', '1/day', { name: 'lim' }), at('m', '9/day', { metadata })],
    },
  ])

  function withLimits(config: () => RateLimitConfig | undefined = () => limits): RigOptions {
    const rateLimits = createRateLimitService({
      config,
      counters,
      ...{ shadowMode: false, quotaMode: false, nearLimitRatio: 0.8 },
      responseDynamicMetadata: true,
      headers: { limit: 'L', remaining: 'R', reset: 'S' },
      onAnswer: () => undefined,
    })
    return { parts: { rateLimits } }
  }

  function ask(client: Client, request: RateLimitRequest) {
    return call(client, rateLimitService.ShouldRateLimit, request).done
  }

  const descriptors = [{ entries: [{ key: 'k', value: 'v' }] }]

  test('is the rate limit service', async () => {
    const it = await rig(withLimits())
    await ask(it.client, { domain: 'edge', descriptors })
    const { response } = await ask(it.client, {
      domain: 'edge',
      descriptors: [...descriptors, { entries: [{ key: 'other', value: 'v' }] }],
    })
    // The decoder leaves enums as numbers, and zeroes and empty texts away.
    expect(response).toEqual({
      overallCode: 2,
      statuses: [
        {
          code: 2,
          currentLimit: { requestsPerUnit: 1, unit: 4, name: 'lim' },
          limitRemaining: 0,
          durationUntilReset: { seconds: 36_800 },
        },
        { code: 1, limitRemaining: 0 },
      ],
      responseHeadersToAdd: [
        { key: 'L', value: '1' },
        { key: 'R', value: '0' },
        { key: 'S', value: '36800' },
      ],
      dynamicMetadata: {
        fields: {
          domain: { stringValue: 'edge' },
          quotaModeEnabled: { boolValue: false },
          descriptors: {
            listValue: {
              values: ['k=v', 'other=v'].map((entry) => ({
                structValue: {
                  fields: { entries: { listValue: { values: [{ stringValue: entry }] } } },
                },
              })),
            },
          },
        },
      },
    })
  })

  test('S8, S25, S26, S31: an addend of 0 of a descriptor asks and counts nothing', async () => {
    const it = await rig(withLimits())
    const asked = {
      entries: [{ key: 'k', value: 'zero' }],
      limit: { requestsPerUnit: 9, unit: 4 },
    }
    // proto3 leaves a value of 0 out, as Envoy writes it; another client may write it.
    const descriptors = [{}, { value: 0 }].map((hitsAddend) => ({ ...asked, hitsAddend }))
    const request = { domain: 'edge', descriptors, hitsAddend: 5 }
    const { response } = await ask(it.client, request)
    expect(response?.statuses.map(({ limitRemaining }) => limitRemaining)).toEqual([9, 9])
  })

  test.each(['9223372036854775807', '9223372036854775808', '18446744073709551615'])(
    'S8: an addend of a descriptor as large as 64 bits hold is over, and stays so: %s',
    async (value) => {
      const it = await rig(withLimits())
      const askWith = async (digits: string) => {
        const limit = { requestsPerUnit: 4_294_967_295, unit: 4 }
        // As digits: of a number the client's library would send 63 bits.
        const hitsAddend = { value: digits as unknown as number }
        const descriptors = [{ entries: [{ key: 'k', value }], limit, hitsAddend }]
        return (await ask(it.client, { domain: 'edge', descriptors })).response
      }
      const over = { overallCode: 2, statuses: [{ code: 2, limitRemaining: 0 }] }
      expect(await askWith(value)).toMatchObject(over)
      expect(await askWith('0')).toMatchObject(over)
    },
  )

  // As envoy/extensions/common/ratelimit/v3 numbers them, and envoy/service/ratelimit/v3 in the answer; the week is the latter's alone.
  test.each([
    ['second', 1, 1],
    ['minute', 2, 20],
    ['hour', 3, 800],
    ['day', 4, 36_800],
    ['month', 5, 1_592_000],
    ['year', 6, 30_536_000],
    ['week', 7, 209_600],
  ])('S32, S34: a limit that a request brings for a %s', async (name, unit, leftSeconds) => {
    const it = await rig(withLimits())
    const limit = { requestsPerUnit: 9, unit }
    const { response } = await ask(it.client, {
      domain: 'edge',
      descriptors: [{ entries: [{ key: 'k', value: name }], limit }],
    })
    expect(response?.statuses).toMatchObject([
      { currentLimit: { unit }, durationUntilReset: { seconds: leftSeconds } },
    ])
  })

  test('S46: metadata of a rule is what its file says, as a Struct', async () => {
    const it = await rig(withLimits())
    const { response } = await ask(it.client, {
      domain: 'edge',
      descriptors: [{ entries: [{ key: 'm', value: 'v' }] }],
    })
    expect(response?.dynamicMetadata?.fields['metadata']).toEqual({
      structValue: {
        fields: {
          text: { stringValue: 't' },
          number: { numberValue: 1.5 },
          flag: { boolValue: false },
          nothing: { nullValue: 0 },
          list: {
            listValue: {
              values: [{ numberValue: 2 }, { structValue: { fields: { x: { boolValue: true } } } }],
            },
          },
        },
      },
    })
  })

  test('leaves reports as they are', async () => {
    const it = await rig(withLimits())
    await check(it.client).done
    const verdict = it.decisions[0]?.verdict
    if (verdict?.kind !== 'allow' || verdict.reservation === undefined) throw new Error('no allow')
    await report(it.client, verdict.reservation.id).done
    expect(it.ended.map(({ ended }) => ended.outcome)).toEqual(['settled'])
  })

  const entries = [{ key: 'k', value: 'v' }]
  const refused: readonly (readonly [string, RateLimitRequest, keyof typeof status, string])[] = [
    ['S65: no domain', { descriptors }, 'UNKNOWN', 'rate limit domain must not be empty'],
    [
      'S65: no descriptor',
      { domain: 'edge' },
      'UNKNOWN',
      'rate limit descriptor list must not be empty',
    ],
    [
      'S36: a limit without a unit',
      { domain: 'edge', descriptors: [{ entries, limit: { requestsPerUnit: 5 } }] },
      'INVALID_ARGUMENT',
      'a limit with an unknown unit',
    ],
    [
      'S36: a limit with a unit that nobody knows',
      { domain: 'edge', descriptors: [{ entries, limit: { requestsPerUnit: 5, unit: 99 } }] },
      'INVALID_ARGUMENT',
      'a limit with an unknown unit',
    ],
    [
      'a limit over several units',
      {
        domain: 'edge',
        descriptors: [
          { entries, limit: { requestsPerUnit: 5, unit: 2, unitMultiplier: { value: 5 } } },
        ],
      },
      'INVALID_ARGUMENT',
      'a limit with a unit_multiplier',
    ],
    [
      'too many descriptors',
      { domain: 'edge', descriptors: Array.from({ length: 1000 }, () => ({ entries })) },
      'INVALID_ARGUMENT',
      'a call has at most 128 descriptors',
    ],
  ]
  test.each(refused)('%s is an error, never an answer', async (_name, request, code, details) => {
    const it = await rig(withLimits())
    const { error } = await ask(it.client, request)
    expect(error).toMatchObject({ code: status[code], details })
    expect(it.failures).toHaveLength(1)
    // And it goes on.
    expect((await ask(it.client, { domain: 'other', descriptors })).error).toBeNull()
  })

  test.each([
    ['an unknown unit', { requestsPerUnit: 5, unit: 99 }],
    ['no unit', { requestsPerUnit: 5 }],
    ['a unit_multiplier', { requestsPerUnit: 5, unit: 2, unitMultiplier: { value: 5 } }],
    ['a unit', { requestsPerUnit: 5, unit: 2 }],
  ])('S33: in a domain that no file has a limit with %s is ignored', async (_name, limit) => {
    const it = await rig(withLimits())
    const request = { domain: 'other', descriptors: [{ entries, limit }] }
    const { response, error } = await ask(it.client, request)
    expect(error).toBeNull()
    expect(response).toMatchObject({ overallCode: 1, statuses: [{ code: 1 }] })
    expect(response?.statuses[0]?.currentLimit).toBeUndefined()
  })

  test('S65: a call without a domain is an error for that, whatever its limits say', async () => {
    const it = await rig(withLimits())
    const limit = { requestsPerUnit: 5, unit: 99 }
    const { error } = await ask(it.client, { descriptors: [{ entries, limit }] })
    expect(error).toMatchObject({ details: 'rate limit domain must not be empty' })
  })

  test('S65: without any configuration is an error', async () => {
    const it = await rig(withLimits(() => undefined))
    const { error } = await ask(it.client, { domain: 'edge', descriptors })
    expect(error).toMatchObject({
      code: status.UNKNOWN,
      details: 'no rate limit configuration loaded',
    })
  })

  test('S66: a store that does not answer is an error', async () => {
    const failing: ServiceParts['rateLimits'] = {
      answer: () => Promise.reject(new DependencyError('rate_limit_store', 'no connection')),
    }
    const it = await rig({ parts: { rateLimits: failing } })
    const { error } = await ask(it.client, { domain: 'edge', descriptors })
    expect(error).toMatchObject({
      code: status.UNAVAILABLE,
      details: 'rate_limit_store is unavailable',
    })
  })
})
