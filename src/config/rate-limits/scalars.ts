import { isUtf8 } from 'node:buffer'
import type { ReadScalar } from '../yaml-values.js'
import type { ScalarTags } from '../yaml-tags.js'
import { isTimestamp } from './timestamp.js'

// Scalars as envoyproxy/ratelimit reads them: by YAML 1.1 as Go's yaml.v2 knows it, and each by what its key wants.

/** Of `requests_per_unit`: 32 bits. */
export const maxCount = 2 ** 32 - 1

/** Stands for a scalar without quotes until it is known what its key wants; one in quotes is text. */
export interface PlainScalar {
  readonly plain: string
}

/** For `readYaml`: a tag decides, then quotes. */
export function scalarOf({ source, isPlain, tag }: ReadScalar): string | PlainScalar {
  if (tag === undefined) return isPlain ? { plain: source } : source
  const [, known = ''] =
    /^tag:yaml\.org,2002:(int|float|bool|null|timestamp|binary)$/.exec(tag) ?? []
  if (known === 'binary') return Buffer.from(source, 'base64').toString()
  // `!`, `!!str`, and every tag that is not known.
  if (known === '') return source
  if (known === 'null') return { plain: '' }
  const whole = known === 'float' ? wholeNumberOf(source) : undefined
  return { plain: whole === undefined ? source : `${String(whole)}.` }
}

/** For `readYaml`. Each wants what it would be without quotes and tag, but that `!!float 5` is a fraction. */
export const scalarTags: ScalarTags = {
  '!': () => true,
  '!!int': (text) => wholeNumberOf(text) !== undefined,
  '!!float': (text) => wholeNumberOf(text) !== undefined || isFraction(text) || isNoNumber(text),
  '!!bool': (text) => yes.includes(text) || no.includes(text),
  '!!null': (text) => nothing.includes(text),
  '!!binary': (text) => {
    const bytes = Buffer.from(text, 'base64')
    return bytes.toString('base64') === text.replaceAll('\n', '') && isUtf8(bytes)
  },
  '!!timestamp': isTimestamp,
}

export function isPlainScalar(value: unknown): value is PlainScalar {
  // Mappings of a document have no prototype, so that none passes for one.
  return typeof value === 'object' && value instanceof Object && 'plain' in value
}

const nothing: readonly string[] = ['', '~', 'null', 'Null', 'NULL']
const yes: readonly string[] = ['y', 'yes', 'true', 'on'].flatMap(threeCases)
const no: readonly string[] = ['n', 'no', 'false', 'off'].flatMap(threeCases)

function threeCases(word: string): readonly string[] {
  return [word, `${word.slice(0, 1).toUpperCase()}${word.slice(1)}`, word.toUpperCase()]
}

/** A key without a value counts as one that is not there. */
export function isNothing(value: unknown): boolean {
  return value === undefined || (isPlainScalar(value) && nothing.includes(value.plain))
}

/** The same of a `rate_limit`: Go's yaml.v2 makes one of `Null` and `NULL` of which no key is given. */
export function isNoLimit(value: unknown): boolean {
  return isNothing(value) && !(isPlainScalar(value) && /^N/.test(value.plain))
}

/** Text in quotes, or without and as it is written: `value: 0x10` is four characters. Undefined for anything else. */
export function textOf(value: unknown): string | undefined {
  if (typeof value === 'string') return value
  if (isNothing(value)) return ''
  // YAML's fractions are what envoyproxy/ratelimit refuses a file for, and whole numbers from 2^63 on, wherever they stand.
  if (!isPlainScalar(value) || isFraction(value.plain) || isNoNumber(value.plain)) return undefined
  return (wholeNumberOf(value.plain) ?? 0n) < 2n ** 63n ? value.plain : undefined
}

export function flagOf(value: unknown): boolean | undefined {
  if (isNothing(value)) return false
  if (!isPlainScalar(value)) return undefined
  if (yes.includes(value.plain)) return true
  return no.includes(value.plain) ? false : undefined
}

/** A whole number from 0 on. Undefined for anything else, also in quotes. */
export function countOf(value: unknown): number | undefined {
  if (isNothing(value)) return 0
  if (!isPlainScalar(value)) return undefined
  const number = wholeNumberOf(value.plain)
  return number !== undefined && number >= 0n ? Number(number) : undefined
}

/** What Go puts into a count where a fraction is no fault: it cuts that off. */
export function roughCountOf(value: unknown): number | undefined {
  const number = dataOf(value)
  return typeof number === 'number' && number > -1 ? Math.trunc(number) : undefined
}

/** What free-form data holds: nothing, a flag, a number or text. Undefined where it is neither a scalar. */
export function dataOf(value: unknown): null | boolean | number | string | undefined {
  if (typeof value === 'string') return value
  if (!isPlainScalar(value)) return undefined
  if (isNothing(value)) return null
  const { plain } = value
  const fraction = isFraction(plain) ? Number(plain.replaceAll('_', '')) : undefined
  const whole = wholeNumberOf(plain)
  return (whole === undefined ? fraction : Number(whole)) ?? flagOf(value) ?? plain
}

const radixes: Readonly<Record<string, number>> = { x: 16, b: 2, o: 8 }

/** In the spellings of Go, which are not those of YAML 1.2: `010` is 8, `1_000` is 1000. What 64 bits hold. */
function wholeNumberOf(written: string): bigint | undefined {
  const [, sign = '', text = ''] =
    /^([-+]?)(\d.*)$/.exec(written.replaceAll('_', '').toLowerCase()) ?? []
  if (written.startsWith('_')) return undefined
  const [, letter = '', digits = ''] = /^0([xbo]?)(.+)$/.exec(text) ?? []
  const number = digits === '' ? wholeOf(text, 10) : wholeOf(digits, radixes[letter] ?? 8)
  if (number === undefined || number >= 2n ** 64n) return undefined
  if (sign === '-') return number > 2n ** 63n ? undefined : -number
  return sign === '+' && number >= 2n ** 63n ? undefined : number
}

const prefixes: Readonly<Record<number, string>> = { 16: '0x', 10: '', 8: '0o', 2: '0b' }

/** Undefined where it has more digits than 64 bits have. */
function wholeOf(digits: string, radix: number): bigint | undefined {
  const known = '0123456789abcdef'.slice(0, radix)
  const significant = digits.replace(/^0+(?=.)/, '')
  if (digits === '' || [...digits].some((digit) => !known.includes(digit))) return undefined
  return significant.length > 64 ? undefined : BigInt(`${prefixes[radix] ?? ''}${significant}`)
}

function isFraction(text: string): boolean {
  return (
    wholeNumberOf(text) === undefined &&
    /^[-+]?(\.\d+|\d[\d_]*(\.[\d_]*)?)([eE][-+]?\d+)?$/.test(text)
  )
}

function isNoNumber(text: string): boolean {
  return /^(\.(nan|NaN|NAN)|[-+]?\.(inf|Inf|INF))$/.test(text)
}
