import { InvalidCallError } from '../errors.js'
import type { RateLimitCall } from './call.js'
import type { Ask, Count, Counters } from './counters.js'
import { MAX_COUNT } from './counters.js'
import { beyondBounds, lookUpAll } from './lookup.js'
import { answerMetadata } from './metadata.js'
import type { Metadata, QuotaFacts } from './metadata.js'
import { measure } from './measure.js'
import type { Measure } from './measure.js'
import type { Descriptor, Match, RateLimit } from './rule.js'
import type { RateLimitConfig } from './tree.js'

/** What stands for one descriptor. */
export interface Status {
  readonly isOver: boolean
  /** Undefined: nothing limits it. */
  readonly limit: RateLimit | undefined
  /** The rule's; empty if it has none. */
  readonly name: string
  /** At most 2^32 - 1, which also stands for a rule without limit. */
  readonly remaining: number
  /** Undefined where nothing is counted. */
  readonly resetMs: number | undefined
}

export interface RateLimitAnswer {
  readonly isOver: boolean
  /** One for each descriptor, in their order. */
  readonly statuses: readonly Status[]
  /** The one to tell the client of; undefined where none has a limit, or all that is left is the largest number. */
  readonly tightest: Status | undefined
  /** Undefined unless it is switched on. */
  readonly metadata: Metadata | undefined
  readonly measures: readonly Measure[]
  readonly isDomainUnknown: boolean
  /** It was over, and all is in shadow mode. */
  readonly isShadowed: boolean
}

export interface RateLimitParts {
  /** Undefined: none was loaded yet. */
  readonly config: () => RateLimitConfig | undefined
  readonly counters: Counters
  readonly shadowMode: boolean
  readonly quotaMode: boolean
  /** From which part of a limit on a hit is told as near to it, 0 to 1. */
  readonly nearLimitRatio: number
  readonly responseDynamicMetadata: boolean
}

const NO_LIMIT: Status = {
  isOver: false,
  limit: undefined,
  name: '',
  remaining: 0,
  resetMs: undefined,
}
const UNLIMITED: Status = { ...NO_LIMIT, remaining: 2 ** 32 - 1 }

/**
 * The story of ShouldRateLimit outside Tollgate's own domain, as envoyproxy/ratelimit tells it: the rules that hold,
 * the counters of all of them, and only then what is over.
 *
 * @throws InvalidCallError the call cannot be answered
 * @throws DependencyError the counters cannot be asked
 */
export async function rateLimit(
  call: RateLimitCall,
  parts: RateLimitParts,
): Promise<RateLimitAnswer> {
  const { domain, descriptors } = call
  const config = requireValid(call, parts)
  const matches = lookUpAll(config, domain, descriptors)
  if (matches === undefined) return tooLongToMatch(call, parts)
  const asks = descriptors.map((descriptor, index) => askOf(call, descriptor, matches[index]))
  const asked = asks.filter((ask) => ask !== undefined)
  const counts = asked.length === 0 ? [] : await parts.counters.count(domain, asked)

  const count = counts.values()
  const rows: readonly Row[] = descriptors.map((_, index) => {
    const ask = asks[index]
    const match = matches[index]
    const counted = ask && { ask, count: count.next().value as Count }
    return { match, counted, status: statusOf(match, counted) }
  })
  const isOver = isOverAll(rows, parts.quotaMode)
  return {
    isOver: isOver && !parts.shadowMode,
    statuses: rows.map(({ status }) => status),
    tightest: tightestOf(rows, parts.quotaMode),
    metadata: parts.responseDynamicMetadata
      ? answerMetadata(call, rows.flatMap(passed), quotaFacts(rows, parts.quotaMode))
      : undefined,
    measures: rows.flatMap(({ match, counted }) =>
      match === undefined || counted === undefined
        ? []
        : [measure(match, counted.ask, counted.count, parts.nearLimitRatio)],
    ),
    isDomainUnknown: !config.domains.has(domain),
    isShadowed: isOver && parts.shadowMode,
  }
}

/**
 * The values of the call are too long for the patterns of the files. A client can make them so, and Envoy may let a call
 * pass that fails: so it is over, and nothing is counted.
 */
function tooLongToMatch(
  { descriptors }: RateLimitCall,
  { shadowMode }: RateLimitParts,
): RateLimitAnswer {
  return {
    isOver: !shadowMode,
    statuses: descriptors.map(() => ({ ...NO_LIMIT, isOver: true })),
    tightest: undefined,
    metadata: undefined,
    measures: [],
    isDomainUnknown: false,
    isShadowed: shadowMode,
  }
}

/** One descriptor of the call. */
interface Row {
  readonly match: Match | undefined
  /** Undefined: nothing counts it. */
  readonly counted: Counted | undefined
  readonly status: Status
}

interface Counted {
  readonly ask: Ask
  readonly count: Count
}

/** The texts are those of envoyproxy/ratelimit. */
function requireValid(
  { domain, descriptors }: RateLimitCall,
  parts: RateLimitParts,
): RateLimitConfig {
  if (domain === '') throw unspecified('rate limit domain must not be empty')
  if (descriptors.length === 0) throw unspecified('rate limit descriptor list must not be empty')
  const beyond = beyondBounds(descriptors)
  if (beyond !== undefined) throw new InvalidCallError('invalid_argument', beyond)
  const config = parts.config()
  if (config === undefined) throw unspecified('no rate limit configuration loaded')
  return config
}

function unspecified(message: string): InvalidCallError {
  return new InvalidCallError('unspecified', message)
}

/** The descriptor's own addend may be 0, which asks without counting; the call's may not. */
function askOf(
  { hitsAddend: ofCall }: RateLimitCall,
  { hitsAddend, isNegativeHits }: Descriptor,
  match: Match | undefined,
): Ask | undefined {
  if (match?.rule.limit === undefined) return undefined
  const hits = hitsAddend ?? (ofCall === 0n ? 1n : ofCall)
  return {
    counted: match.counted,
    limit: match.rule.limit,
    // More is beyond any limit, and stays so however much is added.
    hits: hits > MAX_COUNT ? MAX_COUNT : Number(hits),
    isRefund: isNegativeHits,
  }
}

function statusOf(match: Match | undefined, counted: Counted | undefined): Status {
  if (match === undefined) return NO_LIMIT
  const { limit, name, shadowMode } = match.rule
  if (limit === undefined || counted === undefined) return UNLIMITED
  const { after, resetMs } = counted.count
  return {
    isOver: after > limit.requestsPerUnit && !shadowMode,
    limit,
    name,
    remaining: Math.max(0, limit.requestsPerUnit - after),
    resetMs,
  }
}

/**
 * One rule that is over is enough; but of those in quota mode all have to be. Where all are in quota mode, descriptors
 * without a rule belong to them and never are.
 */
function isOverAll(rows: readonly Row[], quotaMode: boolean): boolean {
  const quotas = rows.filter((row) => isQuota(row, quotaMode))
  const others = rows.filter((row) => !isQuota(row, quotaMode))
  return (
    others.some(({ status }) => status.isOver) ||
    (quotas.length > 0 && quotas.every(({ status }) => status.isOver))
  )
}

function isQuota({ match, status }: Row, quotaMode: boolean): boolean {
  return status !== UNLIMITED && (quotaMode || match?.rule.quotaMode === true)
}

function quotaFacts(rows: readonly Row[], quotaMode: boolean): QuotaFacts {
  return {
    isEnabled: rows.some(
      ({ match, counted }) => counted !== undefined && match?.rule.quotaMode === true,
    ),
    over: rows.flatMap((row, index) =>
      row.status.isOver && isQuota(row, quotaMode) ? [index] : [],
    ),
  }
}

/** The last one that is over, else the one with the least left; as there, none that has all of the largest number left. */
function tightestOf(rows: readonly Row[], quotaMode: boolean): Status | undefined {
  const over = rows.findLast((row) => row.status.isOver && !isQuota(row, quotaMode))
  if (over !== undefined) return over.status
  let tightest: Status | undefined
  for (const { status } of rows) {
    if (status.limit === undefined || status.remaining === UNLIMITED.remaining) continue
    if (tightest === undefined || status.remaining < tightest.remaining) tightest = status
  }
  return tightest
}

/** What the rule of a descriptor that is not over says of itself; of one without limit envoyproxy/ratelimit tells none. */
function passed({ match, counted, status }: Row): readonly Metadata[] {
  const metadata = counted === undefined || status.isOver ? undefined : match?.rule.metadata
  return metadata === undefined ? [] : [metadata]
}
