import type { RateLimitAnswer, Status } from '../ratelimit/rate-limit.js'
import type { RateLimitUnit } from '../ratelimit/rule.js'
import { ceilSeconds } from '../units.js'
import type {
  AnyStruct,
  AnyValue,
  DescriptorStatus,
  RateLimitResponse,
  RateLimitUnitName,
} from './wire.js'

/** The names under which a client is told of its limit. */
export interface RateLimitHeaderNames {
  readonly limit: string
  readonly remaining: string
  readonly reset: string
}

/** @param headers undefined: the client is told nothing */
export function toRateLimitAnswer(
  answer: RateLimitAnswer,
  headers: RateLimitHeaderNames | undefined,
): RateLimitResponse {
  const { tightest, metadata } = answer
  return {
    overallCode: codeOf(answer),
    statuses: answer.statuses.map(toStatus),
    ...(headers === undefined || tightest === undefined
      ? {}
      : { responseHeadersToAdd: toHeaders(headers, tightest) }),
    ...(metadata === undefined ? {} : { dynamicMetadata: toStruct(metadata) }),
  }
}

function codeOf({ isOver }: { readonly isOver: boolean }): 'OK' | 'OVER_LIMIT' {
  return isOver ? 'OVER_LIMIT' : 'OK'
}

function toStatus(status: Status): DescriptorStatus {
  const { limit, name, remaining, resetMs } = status
  return {
    code: codeOf(status),
    ...(limit === undefined
      ? {}
      : {
          currentLimit: {
            requestsPerUnit: limit.requestsPerUnit,
            unit: unitName(limit.unit),
            name,
          },
        }),
    limitRemaining: remaining,
    ...(resetMs === undefined ? {} : { durationUntilReset: { seconds: ceilSeconds(resetMs) } }),
  }
}

function unitName(unit: RateLimitUnit): RateLimitUnitName {
  return unit.toUpperCase() as Uppercase<RateLimitUnit>
}

function toHeaders(names: RateLimitHeaderNames, { limit, remaining, resetMs }: Status) {
  return [
    { key: names.limit, value: String(limit?.requestsPerUnit ?? 0) },
    { key: names.remaining, value: String(remaining) },
    { key: names.reset, value: String(ceilSeconds(resetMs ?? 0)) },
  ]
}

function toStruct(mapping: Readonly<Record<string, unknown>>): AnyStruct {
  return {
    fields: Object.fromEntries(
      Object.entries(mapping).map(([name, value]) => [name, toValue(value)]),
    ),
  }
}

/** A value of JSON: nothing else can come out of a rate limit file. */
function toValue(value: unknown): AnyValue {
  if (typeof value === 'string') return { stringValue: value }
  if (typeof value === 'number') return { numberValue: value }
  if (typeof value === 'boolean') return { boolValue: value }
  if (Array.isArray(value)) return { listValue: { values: value.map(toValue) } }
  if (typeof value === 'object' && value !== null)
    return { structValue: toStruct(value as Readonly<Record<string, unknown>>) }
  return { nullValue: 'NULL_VALUE' }
}
