import { InvalidCallError } from '../errors.js'
import type { Report } from '../meter.js'
import type { RateLimitDescriptor, RateLimitRequest } from './wire.js'

/** The rate limit domain whose descriptors are reports. */
export const reportDomain = 'tollgate'

// Envoy sends eleven; the rest is room for labels and for names that a later version adds.
const maxDescriptors = 32
const maxEntries = 8

/** What `report=NAME` of a descriptor may be, and the figure that its `hits_addend` then is. */
export const reportNames = [
  'input',
  'output',
  'cached',
  'cache_write',
  'bytes',
  'duration',
  'end',
  'attempts',
  'upstream_bytes',
  'upstream_received',
  'upstream_duration',
] as const

type ReportName = (typeof reportNames)[number]

function isReportName(name: string): name is ReportName {
  return (reportNames as readonly string[]).includes(name)
}

/**
 * Reads the one call that Envoy makes when an admitted stream is over. Each descriptor is
 * `(reservation=ID)(report=NAME)` with the figure as its `hits_addend`; Envoy leaves out a descriptor for which it
 * has no figure. Other entries are labels and are not read; a name that this version does not know is passed over,
 * so that Envoy's file may be newer than Tollgate.
 *
 * @throws InvalidCallError another domain, two reservations, a figure twice, out of range or missing
 */
export function toReport(request: RateLimitRequest): Report {
  if (request.domain !== reportDomain) {
    throw invalid(`unknown domain; reports come in the domain "${reportDomain}"`)
  }
  const descriptors = request.descriptors ?? []
  if (descriptors.length === 0) throw invalid('no descriptor')
  if (descriptors.length > maxDescriptors) {
    throw invalid(`more than ${String(maxDescriptors)} descriptors`)
  }

  let reservationId: string | undefined
  const figures = new Map<ReportName, number>()
  for (const descriptor of descriptors) {
    const { reservation, report } = readEntries(descriptor)
    reservationId ??= reservation
    if (reservation !== reservationId) throw invalid('two reservations in one call')
    const figure = readFigure(descriptor)
    if (!isReportName(report)) continue
    if (figures.has(report)) throw invalid(`report=${report} twice`)
    figures.set(report, figure)
  }
  if (reservationId === undefined) throw invalid('no reservation')

  return {
    reservationId,
    usage: {
      inputTokens: figures.get('input'),
      outputTokens: figures.get('output'),
      cachedTokens: figures.get('cached'),
      cacheWriteTokens: figures.get('cache_write'),
    },
    bytesSent: figures.get('bytes'),
    durationMs: figures.get('duration'),
    endStatus: figures.get('end'),
    attempts: figures.get('attempts'),
    upstreamBytesSent: figures.get('upstream_bytes'),
    upstreamBytesReceived: figures.get('upstream_received'),
    upstreamDurationMs: figures.get('upstream_duration'),
  }
}

/** 128 bits are 22 characters of base64url; the rest is room for ids of another ledger. */
const reservationForm = /^[A-Za-z0-9_-]{1,64}$/

function readEntries(descriptor: RateLimitDescriptor): { reservation: string; report: string } {
  const entries = descriptor.entries ?? []
  if (entries.length > maxEntries) {
    throw invalid(`more than ${String(maxEntries)} entries in a descriptor`)
  }
  let reservation: string | undefined
  let report: string | undefined
  for (const { key, value = '' } of entries) {
    if (key === 'reservation') {
      if (reservation !== undefined) throw invalid('reservation twice in a descriptor')
      reservation = value
    } else if (key === 'report') {
      if (report !== undefined) throw invalid('report twice in a descriptor')
      report = value
    }
  }
  if (reservation === undefined) throw invalid('a descriptor without reservation')
  if (report === undefined) throw invalid('a descriptor without report')
  if (!reservationForm.test(reservation)) {
    throw invalid('a reservation that is no id of Tollgate')
  }
  return { reservation, report }
}

/**
 * The figure of a descriptor. One without `hits_addend` would count as 1 in a rate limit service: as a report it
 * would be a figure that nobody measured.
 */
function readFigure(descriptor: RateLimitDescriptor): number {
  if (descriptor.hitsAddend === undefined) throw invalid('a descriptor without hits_addend')
  const value = descriptor.hitsAddend.value ?? 0
  if (!Number.isSafeInteger(value) || value < 0) {
    throw invalid('hits_addend outside 0 to 2^53 - 1')
  }
  return value
}

/** Whoever configured Envoy has to look; nothing of the call was used, and the message holds no value of it. */
function invalid(message: string): InvalidCallError {
  return new InvalidCallError('invalid_argument', message)
}
