import { InvalidCallError } from '../errors.js'
import type {
  AnyStruct,
  AnyValue,
  DescriptorStatus,
  RateLimitDescriptor,
  RateLimitOverride,
  RateLimitRequest,
  RateLimitResponse,
} from './wire.js'

// The messages as JSON, by the rules of Protocol Buffers: names in camel case or as in the .proto file, enums by name
// or number, 64-bit numbers as text or number, null for what is not there. An unknown name is an error.

/** @throws InvalidCallError no RateLimitRequest; the message holds nothing of it */
export function requestFromJson(text: string): RateLimitRequest {
  let parsed: unknown
  try {
    parsed = JSON.parse(text)
  } catch {
    throw invalid('no JSON')
  }
  return readRequest(parsed)
}

export function responseToJson(response: RateLimitResponse): string {
  const { overallCode, statuses, responseHeadersToAdd, dynamicMetadata } = response
  return JSON.stringify({
    overallCode,
    statuses: statuses.map(statusToJson),
    responseHeadersToAdd,
    dynamicMetadata: dynamicMetadata && structToJson(dynamicMetadata),
  })
}

type Reader<Field> = (value: unknown) => Field

function readRequest(value: unknown): RateLimitRequest {
  return readMessage(value, {
    domain: readText,
    descriptors: listOf(readDescriptor),
    hitsAddend: wholeUpTo(2 ** 32 - 1),
  })
}

function readDescriptor(value: unknown): RateLimitDescriptor {
  return readMessage(value, {
    entries: listOf((entry) => readMessage(entry, { key: readText, value: readText })),
    limit: readOverride,
    hitsAddend: (hits) => ({ value: wholeUpTo(2 ** 64)(hits) }),
    isNegativeHits: readFlag,
  })
}

const unitNumbers: Readonly<Record<string, number>> = {
  ...{ UNKNOWN: 0, SECOND: 1, MINUTE: 2, HOUR: 3, DAY: 4, MONTH: 5, YEAR: 6, WEEK: 7 },
}

function readOverride(value: unknown): RateLimitOverride {
  return readMessage(value, {
    requestsPerUnit: wholeUpTo(2 ** 32 - 1),
    unit: (unit) => {
      if (typeof unit === 'string' && Object.hasOwn(unitNumbers, unit))
        return unitNumbers[unit] ?? 0
      return wholeUpTo(2 ** 31 - 1)(unit)
    },
    unitMultiplier: (times) => ({ value: wholeUpTo(2 ** 32 - 1)(times) }),
  })
}

/** The fields that are there, each by its reader. */
function readMessage<Message>(
  value: unknown,
  readers: { readonly [Name in keyof Message]-?: Reader<NonNullable<Message[Name]>> },
): Message {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw invalid('something else where a message has to be')
  }
  const read = new Map<string, unknown>()
  for (const [written, field] of Object.entries(value)) {
    const name = written.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase())
    if (!Object.hasOwn(readers, name)) throw invalid('a field that is not known')
    if (read.has(name)) throw invalid('a field twice')
    if (field !== null) read.set(name, readers[name as keyof Message](field))
  }
  // The keys are those of the readers, which are those of the message.
  return Object.fromEntries(read) as Message
}

function listOf<Item>(reader: Reader<Item>): Reader<readonly Item[]> {
  return (value) => {
    if (!Array.isArray(value)) throw invalid('something else where a list has to be')
    return value.map(reader)
  }
}

function readText(value: unknown): string {
  if (typeof value !== 'string') throw invalid('something else where a text has to be')
  return value
}

function readFlag(value: unknown): boolean {
  if (typeof value !== 'boolean') throw invalid('something else where true or false has to be')
  return value
}

function wholeUpTo(max: number): Reader<number> {
  return (value) => {
    const number = typeof value === 'string' && /^\d{1,20}$/.test(value) ? Number(value) : value
    if (typeof number !== 'number' || !Number.isInteger(number) || number < 0 || number > max) {
      throw invalid('something else where a whole number has to be, or one out of range')
    }
    return number
  }
}

/** What is zero or empty is left out. */
function statusToJson(status: DescriptorStatus): object {
  const { code, currentLimit, limitRemaining = 0, durationUntilReset } = status
  return {
    code,
    currentLimit: currentLimit && {
      requestsPerUnit: currentLimit.requestsPerUnit || undefined,
      unit: currentLimit.unit,
      name: currentLimit.name || undefined,
    },
    limitRemaining: limitRemaining || undefined,
    durationUntilReset: durationUntilReset && `${String(durationUntilReset.seconds)}s`,
  }
}

function structToJson({ fields }: AnyStruct): object {
  return Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, toJson(value)]))
}

function toJson(value: AnyValue): unknown {
  if ('stringValue' in value) return value.stringValue
  if ('numberValue' in value) return value.numberValue
  if ('boolValue' in value) return value.boolValue
  if ('structValue' in value) return structToJson(value.structValue)
  if ('listValue' in value) return value.listValue.values.map(toJson)
  return null
}

function invalid(message: string): InvalidCallError {
  return new InvalidCallError('invalid_argument', message)
}
