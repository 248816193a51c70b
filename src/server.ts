import { constants } from 'node:http2'
import type { ServerHttp2Stream } from 'node:http2'
import type { PeerCertificate } from 'node:tls'
import { status } from '@grpc/grpc-js'
import type { sendUnaryData, Server, ServerUnaryCall } from '@grpc/grpc-js'
import type { Admission } from './admission.js'
import { abandon, authorize, refuseUnread } from './authorize.js'
import type { AuthorizeParts } from './authorize.js'
import type { Decision } from './decision.js'
import type { Clock } from './clock.js'
import { toIncomingRequest } from './envoy/check-request.js'
import { toCheckResponse } from './envoy/check-response.js'
import { authorizationService, rateLimitService } from './envoy/protos.js'
import { toRateLimitResponse } from './envoy/rate-limit-response.js'
import type { RateLimitService } from './envoy/rate-limit-service.js'
import { reportDomain, toReport } from './envoy/report.js'
import type {
  CheckRequest,
  CheckResponse,
  RateLimitRequest,
  RateLimitResponse,
} from './envoy/wire.js'
import { AbandonedError, ComingError, DependencyError, InvalidCallError } from './errors.js'
import type { EarlyReports } from './early-reports.js'
import type { LateReports } from './late-reports.js'
import { meter, noTries } from './meter.js'
import type { EndedReservation, MeterParts, Report } from './meter.js'
import type { Ended } from './quota/ledger.js'
import type { Recorder } from './telemetry/record.js'
import { createTurns } from './turns.js'

export interface ServiceParts extends AuthorizeParts, MeterParts {
  readonly recorder: Recorder
  readonly lateReports: LateReports
  /** Undefined: nobody else reserves in the ledger. */
  readonly earlyReports?: Pick<EarlyReports, 'keep'> | undefined
  /** Undefined: reports alone are taken. */
  readonly rateLimits?: RateLimitService | undefined
}

export interface Services {
  /** @param allowedSans as `listen` hands them over */
  addTo(server: Server, allowedSans: readonly string[] | undefined): void
  /** Calls that are being answered now. */
  underWay(): number
}

/**
 * Envoy's own deadline runs out a little before ours does: an answer in the last moments would be lost on its way,
 * and its reservation would wait for a report that cannot come.
 */
const ANSWER_MARGIN_MS = 20

/** The two gRPC services: deadlines, what happens to an answer that nobody waits for, and the one catch. */
export function createServices(parts: ServiceParts): Services {
  let underWay = 0
  const turns = createTurns(parts)

  /** Answers that were encoded, that is handed to the transport: the others never left. */
  const encoded = new WeakSet<CheckResponse>()
  const check = {
    ...authorizationService.Check,
    responseSerialize(response: CheckResponse): Buffer {
      encoded.add(response)
      return authorizationService.Check.responseSerialize(response)
    },
  }

  async function answerCheck(request: CheckRequest, call: Call): Promise<CheckResponse> {
    const startedMs = parts.clock.monotonicMs()
    const incoming = toIncomingRequest(request, call.signal)
    call.requestId = incoming.request.requestId
    const turn = await turns.mine(call.signal)
    const decision =
      incoming.fault === undefined
        ? await authorize(incoming.request, parts, turn)
        : refuseUnread(incoming.request, incoming.fault, parts)
    try {
      // With `audit.required`, an allow is answered only after its record was written.
      await parts.recorder.decision(decision, parts.clock.monotonicMs() - startedMs)
      if (call.signal.aborted) throw new AbandonedError('given up before the answer')
    } catch (error) {
      await giveBack(decision)
      throw error
    }
    const response = toCheckResponse(decision)
    call.onUndelivered(
      () => encoded.has(response),
      () => void giveBack(decision),
    )
    return response
  }

  /** The answer does not reach Envoy, so no engine will see the request. */
  async function giveBack(decision: Decision): Promise<void> {
    try {
      const ended = await abandon(decision, parts)
      if (ended !== undefined) await parts.recorder.ended(asReleased(ended, parts.clock))
    } catch (error) {
      // The lease ends what could not be given back; the failure must not hide the one that led here.
      parts.recorder.failure('give_back', error, decision.request.requestId)
    }
  }

  /** Tollgate's own domain is reports; every other one is asked before a request passes. */
  async function answerRateLimit(request: RateLimitRequest): Promise<RateLimitResponse> {
    if (request.domain === reportDomain || parts.rateLimits === undefined) {
      return answerReport(request)
    }
    return parts.rateLimits.answer(request)
  }

  async function answerReport(request: RateLimitRequest): Promise<RateLimitResponse> {
    const report = toReport(request)
    const ended = await meterOrKeep(report)
    if (ended === 'kept') return toRateLimitResponse(request)
    if (ended !== undefined) {
      parts.recorder.report(ended)
      await parts.recorder.ended(ended)
    } else if (parts.earlyReports?.keep(report) !== true) {
      parts.recorder.report(undefined)
    }
    return toRateLimitResponse(request)
  }

  /** Envoy does not send it again: where the ledger cannot be reached, upkeep tries again. */
  async function meterOrKeep(report: Report): Promise<EndedReservation | 'kept' | undefined> {
    const tries = noTries()
    try {
      return await meter(report, parts, tries)
    } catch (error) {
      if (error instanceof DependencyError) parts.lateReports.keep(report, tries)
      // It is early, and nothing has failed.
      if (error instanceof ComingError) return 'kept'
      throw error
    }
  }

  /** The one catch: a failure is never a verdict, it becomes a gRPC status, so that Envoy's failure mode decides. */
  function unary<Request, Response>(
    operationOf: (request: Request) => 'check' | 'report' | 'rate_limit',
    answer: (request: Request, call: Call) => Promise<Response>,
    allowedSans: readonly string[] | undefined,
  ) {
    return (call: ServerUnaryCall<Request, Response>, callback: sendUnaryData<Response>): void => {
      underWay += 1
      const watched = watch(call, parts.clock)
      const run = async (): Promise<Response> => {
        requireAllowedPeer(call, allowedSans)
        return answer(call.request, watched)
      }
      run()
        .then(
          (response) => {
            callback(null, response)
          },
          (error: unknown) => {
            parts.recorder.failure(operationOf(call.request), error, watched.requestId)
            callback({ code: statusOf(error), details: detailsOf(error) })
          },
        )
        .finally(() => {
          underWay -= 1
        })
    }
  }

  return {
    addTo(server, allowedSans) {
      server.addService({ Check: check }, { Check: unary(() => 'check', answerCheck, allowedSans) })
      server.addService(rateLimitService, {
        ShouldRateLimit: unary(
          ({ domain }: RateLimitRequest) => (domain === reportDomain ? 'report' : 'rate_limit'),
          answerRateLimit,
          allowedSans,
        ),
      })
    },
    underWay: () => underWay,
  }
}

/** A call as the services see it. */
interface Call {
  /** Fires when Envoy gave the call up or its deadline is about to pass. */
  readonly signal: AbortSignal
  /** As in `IncomingRequest`, once it is read: joins a failure to Envoy's access log and to what the client got. */
  requestId: string | undefined
  /**
   * Runs when the call was cut while its answer was on the way: the answer was never encoded, or Envoy reset the
   * stream before it had read it to its end. It resets none that it has read, so no request went on with this
   * answer. May run twice.
   */
  onUndelivered(isEncoded: () => boolean, listener: () => void): void
}

const HTTP2_NO_ERROR = constants.NGHTTP2_NO_ERROR

/** Made once: without a reason, every abort makes a DOMException with a stack, 2 % of a small Check (measured). */
const OVER = new AbandonedError('the call is over')

/** A timer for longer, as for a call without a deadline, would fire at once. */
const LONGEST_TIMER_MS = 2 ** 31 - 1

function watch(call: ServerUnaryCall<unknown, unknown>, clock: Clock): Call {
  const controller = new AbortController()
  const deadline = call.getDeadline()
  const deadlineEpochMs = typeof deadline === 'number' ? deadline : deadline.getTime()
  const leftMs = deadlineEpochMs - clock.nowEpochMs() - ANSWER_MARGIN_MS
  const timer = setTimeout(
    () => {
      controller.abort(OVER)
    },
    Math.min(Math.max(0, leftMs), LONGEST_TIMER_MS),
  )
  // grpc-js emits it for every call that is over, also for one that was answered.
  call.once('cancelled', () => {
    clearTimeout(timer)
    controller.abort(OVER)
  })
  return {
    signal: controller.signal,
    requestId: undefined,
    onUndelivered(isEncoded, listener) {
      call.once('cancelled', () => {
        if (!isEncoded()) listener()
      })
      const stream = http2StreamOf(call)
      stream?.once('close', () => {
        if (stream.rstCode !== HTTP2_NO_ERROR) listener()
      })
    },
  }
}

/**
 * grpc-js tells nobody how a stream was closed. This is its own field, of the exact version that the lock file
 * names; a test fails when it is no longer there, and then a reservation waits for its lease.
 */
function http2StreamOf(call: object): ServerHttp2Stream | undefined {
  const inner = 'call' in call ? call.call : undefined
  const hasStream = typeof inner === 'object' && inner !== null && 'stream' in inner
  return hasStream ? (inner.stream as ServerHttp2Stream) : undefined
}

function asReleased(ended: Ended<Admission>, clock: Clock): EndedReservation {
  return { atEpochMs: clock.nowEpochMs(), ended, end: { kind: 'released' }, report: undefined }
}

function requireAllowedPeer(
  call: ServerUnaryCall<unknown, unknown>,
  allowedSans: readonly string[] | undefined,
): void {
  if (allowedSans === undefined) return
  const sans = subjectAltNames(call.getAuthContext().sslPeerCertificate)
  if (!sans.some((san) => allowedSans.includes(san))) {
    throw new InvalidCallError(
      'permission_denied',
      'the certificate of the peer is not on the list',
    )
  }
}

/** Node writes them as `URI:spiffe://a/b, DNS:envoy.llm`; a name with a comma or quote in it is quoted and never matches. */
function subjectAltNames(certificate: PeerCertificate | undefined): readonly string[] {
  const names = certificate?.subjectaltname?.split(', ') ?? []
  return names.map((name) => name.slice(name.indexOf(':') + 1))
}

function statusOf(error: unknown): status {
  if (error instanceof DependencyError) return status.UNAVAILABLE
  if (error instanceof AbandonedError) return status.CANCELLED
  if (error instanceof InvalidCallError) return invalidStatus[error.fault]
  return status.INTERNAL
}

const invalidStatus = {
  invalid_argument: status.INVALID_ARGUMENT,
  permission_denied: status.PERMISSION_DENIED,
  unspecified: status.UNKNOWN,
} as const satisfies Record<InvalidCallError['fault'], status>

/** Envoy logs it; nothing of the request is in it. */
function detailsOf(error: unknown): string {
  if (error instanceof DependencyError) return `${error.dependency} is unavailable`
  if (error instanceof AbandonedError || error instanceof InvalidCallError) return error.message
  return 'internal error'
}
