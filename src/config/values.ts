import { z } from 'zod'
import { apiKeyPrefix } from '../identity/api-keys.js'
import { toMicros } from '../money.js'
import { plainDimensions } from '../quota/quota.js'
import type { PartitionDimension } from '../quota/quota.js'
import { isLoopbackHost, parseAddress } from './address.js'
import { parseDateTime } from './date-time.js'

/**
 * The words of the policy: each reads one scalar or gives the one sentence that says what would be right.
 * That sentence is the whole message of zod's issue, so a fault never depends on the library's wording.
 */

/** A scalar that `parse` understands; undefined from it means that the value is wrong. */
export function scalar<T>(expected: string, parse: (value: unknown) => T | undefined) {
  return z
    .custom<unknown>((value) => parse(value) !== undefined, { error: expected })
    .transform((value) => parse(value) as T)
}

/** Text for which `accepts` holds. */
export function text(expected: string, accepts: (value: string) => boolean) {
  return scalar(expected, (value) =>
    typeof value === 'string' && accepts(value) ? value : undefined,
  )
}

/** One of a closed list of words. */
export function word<const Word extends string>(words: readonly Word[]) {
  return scalar(oneOf(words), (value) => words.find((candidate) => candidate === value))
}

/** "one of a, b, c", or the word itself when there is only one. */
export function oneOf(words: readonly string[]): string {
  return words.length === 1 ? (words[0] ?? '') : `one of ${words.join(', ')}`
}

/**
 * A whole number from `min` to `max`, both included; without a quote and within 2^53 - 1.
 *
 * @param least what messages call the least number, where a rule of several keys says which it is
 */
export function wholeNumber(min: number, max: number, unit: string, least = String(min)) {
  return scalar(`a whole number of ${unit} from ${least} to ${String(max)}`, (value) =>
    typeof value === 'number' && Number.isSafeInteger(value) && value >= min && value <= max
      ? value
      : undefined,
  )
}

export function flag() {
  return scalar('true or false', (value) => (typeof value === 'boolean' ? value : undefined))
}

/** An amount of the operator's currency for a million tokens, in micro-units; 0 is free. */
export function price() {
  return scalar(
    'a price for a million tokens, 0 to 999999999.999999 with at most 6 decimals, without quotes',
    (value) => (typeof value === 'number' ? toMicros(value) : undefined),
  )
}

/** How much a quota allows: whole units, or money, as its unit says (`quota-rules.ts`). */
export function quotaLimit() {
  return scalar(
    `a whole number of units from 1 to ${String(Number.MAX_SAFE_INTEGER)}, or of unit cost an amount as 25.50`,
    (value) =>
      typeof value === 'number' &&
      ((Number.isSafeInteger(value) && value >= 1) || (value > 0 && toMicros(value) !== undefined))
        ? value
        : undefined,
  )
}

/** A number from 0 to 1. */
export function ratio() {
  return scalar('a number from 0 to 1', (value) =>
    typeof value === 'number' && value >= 0 && value <= 1 ? value : undefined,
  )
}

/** A list of at most `max` items. */
export function list<Item extends z.ZodType>(item: Item, max: number) {
  return z
    .array(item, { error: 'a list' })
    .max(max, { error: `at most ${String(max)} items in the list` })
}

/** A list of at least one item, and at most `max`. */
export function someOf<Item extends z.ZodType>(item: Item, max: number) {
  const expected = `a list of 1 to ${String(max)} items`
  return z
    .array(item, { error: expected })
    .min(1, { error: expected })
    .max(max, { error: expected })
}

/** A mapping that has no other keys than those of `shape`; `partly.ts` answers an unknown key with the known ones. */
export function mapping<Shape extends z.ZodRawShape>(shape: Shape) {
  return z.strictObject(shape, { error: 'a mapping' })
}

// Text that gets into headers, metric labels, file names or log lines is narrowed here, once.

/** Name of a quota, grant, list or pool: it travels in headers and metadata. */
export function name() {
  return text('a name of 1 to 64 letters, digits, dots, hyphens or underscores', (value) =>
    /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(value),
  )
}

/** Name of an API key. A key is one, too, by its characters: whoever puts it here would have it in every record. */
export function apiKeyId() {
  return text(
    `a name of 1 to 64 letters, digits, dots, hyphens or underscores, which does not begin with ${apiKeyPrefix}`,
    (value) => /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(value) && !value.startsWith(apiKeyPrefix),
  )
}

/** What the policy has of an API key. */
export function apiKeyHash() {
  return text(
    'the SHA-256 of the whole key, 64 lower-case hex digits (tollgate key new prints it), in quotes if it looks like a number',
    (value) => /^[0-9a-f]{64}$/.test(value),
  )
}

/** A moment, in milliseconds since 1970. */
export function dateTime() {
  return scalar('a date and time with its zone, as 2027-01-31T00:00:00Z', (value) =>
    typeof value === 'string' ? parseDateTime(value) : undefined,
  )
}

/** Name of a model as callers write it, as `meta-llama/Llama-3.3-70B-Instruct`. */
export function modelName() {
  return text(
    'a model name of 1 to 128 letters, digits or . _ : / @ + -, beginning with a letter or digit',
    (value) => /^[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,127}$/.test(value),
  )
}

/** Pattern of model names, in which `*` matches any run of characters. */
export function modelPattern() {
  return text(
    'a model name or a pattern of one with * for any run of characters, at most 128 characters',
    (value) => /^[A-Za-z0-9*._:/@+-]{1,128}$/.test(value),
  )
}

/** Value of a claim: tenant, group, client, audience. */
export function claimValue(what: string) {
  return text(
    `${what}: text of 1 to 255 characters without control characters, in quotes if it looks like a number`,
    (value) => value.length >= 1 && value.length <= 255 && !/\p{Cc}/u.test(value),
  )
}

/** Name of a response header. */
export function headerName() {
  return text('the name of a header, of 1 to 64 letters, digits and hyphens', (value) =>
    /^[A-Za-z0-9-]{1,64}$/.test(value),
  )
}

/** Path of a claim inside the credential, as `org` or `resource.org`. */
export function claimPath() {
  return text(
    'a claim name, or a path of names joined by dots, of 1 to 255 characters',
    (value) =>
      /^[^\s.\p{Cc}]+(\.[^\s.\p{Cc}]+)*$/u.test(value.slice(0, 256)) && value.length <= 255,
  )
}

/** What a quota counts by. */
export function quotaDimension() {
  const expected = `one of ${plainDimensions.join(', ')}, or claim:NAME as claim:department`
  const claim = claimPath()
  return scalar(expected, (value): PartitionDimension | undefined => {
    const plain = plainDimensions.find((dimension) => dimension === value)
    if (plain !== undefined || typeof value !== 'string') return plain
    if (!value.startsWith('claim:')) return undefined
    const path = claim.safeParse(value.slice('claim:'.length)).data
    return path === undefined ? undefined : `claim:${path}`
  })
}

/** Field of a request body, or `*`. */
export function fieldName() {
  return text('the name of a request field, or *', (value) =>
    /^(\*|[A-Za-z_][A-Za-z0-9_.-]{0,63})$/.test(value),
  )
}

/** Path of a file on this machine. */
export function filePath(what: string) {
  return text(
    `the path of ${what}`,
    (value) => value.length >= 1 && value.length <= 4096 && !/\p{Cc}/u.test(value),
  )
}

/**
 * Path of a request in the one normal form that Check accepts: absolute, printable ASCII, without query,
 * fragment, percent signs, empty or dot segments. Whatever Envoy normalises can then never differ from it.
 */
export function requestPath() {
  return text(
    'a path in normal form, as /v1/models: no query, no percent sign, no empty or dot segment',
    (value) =>
      /^\/[A-Za-z0-9._~!$&'()*+,;=:@/-]{0,255}$/.test(value) &&
      value
        .slice(1)
        .split('/')
        .every((part, index, parts) =>
          part === '' ? index === parts.length - 1 : part !== '.' && part !== '..',
        ),
  )
}

export function address() {
  return scalar('unix:///PATH or HOST:PORT', (value) =>
    typeof value === 'string' ? parseAddress(value) : undefined,
  )
}

/** URL of an issuer: `https:`, or `http:` to a loopback address; no query, fragment or user. */
export function issuerUrl() {
  return text(
    'an https:// URL without query, fragment and user (http:// only to a loopback address, with insecureHttp: true)',
    (value) => {
      if (value.length > 2048 || !/^https?:\/\/[!-~]+$/.test(value)) return false
      if (value.includes('?') || value.includes('#') || !URL.canParse(value)) return false
      const url = new URL(value)
      if (url.username !== '' || url.password !== '') return false
      return url.protocol === 'https:' || isLoopbackHost(url.hostname)
    },
  )
}

/** Where a Redis server is: a host, or a Unix socket. */
export function redisUrl() {
  return text(
    'redis://HOST:PORT, rediss://HOST:PORT (TLS) or unix:///PATH, without user and password',
    (value) => {
      if (value.length > 2048 || !URL.canParse(value)) return false
      if (/^unix:\/\/\/[!-~]+$/.test(value)) return !/[?#%]/.test(value)
      // A database other than 0 may follow: redis://HOST:PORT/1
      if (!/^rediss?:\/\/[^/?#@]+(\/\d{0,3})?$/.test(value)) return false
      return new URL(value).hostname !== ''
    },
  )
}

/** One of several servers of Redis, or a Sentinel. */
export function redisNode() {
  return text(
    'redis://HOST:PORT or rediss://HOST:PORT (TLS), without user, password and database',
    (value) =>
      value.length <= 2048 && /^rediss?:\/\/[^/?#@]+:\d{1,5}$/.test(value) && URL.canParse(value),
  )
}

/** An origin as a browser sends it (RFC 6454 §6.1), as `https://app.example`. */
export function origin() {
  return text(
    'an origin as a browser sends it, as https://app.example, without a path',
    (value) => {
      if (!/^https?:\/\//.test(value) || !URL.canParse(value)) return false
      return new URL(value).origin === value
    },
  )
}
