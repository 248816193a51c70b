import { isUtf8 } from 'node:buffer'
import type { ReadScalar } from '../yaml-document.js'
import type { ScalarTags } from '../yaml-tags.js'
import { isTimestamp } from './timestamp.js'

// Scalars as envoyproxy/ratelimit reads them: by YAML 1.1 as Go's yaml.v2 knows it, and each by what its key wants.

/** Stands for a scalar without quotes until it is known what its key wants; one in quotes is text. */
export interface PlainScalar {
  readonly plain: string
}

/** For `readYaml`: a tag decides, then quotes. */
export function scalarOf({ source, isPlain, tag }: ReadScalar): string | PlainScalar {
  if (tag === undefined) return isPlain ? { plain: source } : source
  if (tag === '!' || tag.endsWith(':str')) return source
  if (tag.endsWith(':binary')) return Buffer.from(source, 'base64').toString()
  const whole = tag.endsWith(':float') ? wholeNumberOf(source) : undefined
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

/** Text in quotes, or without and as it is written: `value: 0x10` is four characters. Undefined for anything else. */
export function textOf(value: unknown): string | undefined {
  if (typeof value === 'string') return value
  if (isNothing(value)) return ''
  // YAML's fractions are what envoyproxy/ratelimit refuses a file for, wherever they stand.
  const isText = isPlainScalar(value) && !isFraction(value.plain) && !isNoNumber(value.plain)
  return isText ? value.plain : undefined
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
  return number !== undefined && number >= 0 ? Math.abs(number) : undefined
}

/** What free-form data holds: nothing, a flag, a number or text. Undefined where it is neither a scalar. */
export function dataOf(value: unknown): null | boolean | number | string | undefined {
  if (typeof value === 'string') return value
  if (!isPlainScalar(value)) return undefined
  if (isNothing(value)) return null
  const { plain } = value
  const fraction = isFraction(plain) ? Number(plain.replaceAll('_', '')) : undefined
  return wholeNumberOf(plain) ?? fraction ?? flagOf(value) ?? plain
}

const radixes: Readonly<Record<string, number>> = { x: 16, b: 2, o: 8 }

/** In the spellings of Go, which are not those of YAML 1.2: `010` is 8, `1_000` is 1000. */
function wholeNumberOf(written: string): number | undefined {
  const [, sign = '', text = ''] =
    /^([-+]?)(\d.*)$/.exec(written.replaceAll('_', '').toLowerCase()) ?? []
  if (written.startsWith('_')) return undefined
  const [, letter = '', digits = ''] = /^0([xbo]?)(.+)$/.exec(text) ?? []
  const number = digits === '' ? wholeOf(text, 10) : wholeOf(digits, radixes[letter] ?? 8)
  return number !== undefined && sign === '-' ? -number : number
}

function wholeOf(digits: string, radix: number): number | undefined {
  const known = '0123456789abcdef'.slice(0, radix)
  if (digits === '' || [...digits].some((digit) => !known.includes(digit))) return undefined
  const number = Number.parseInt(digits, radix)
  return Number.isSafeInteger(number) ? number : undefined
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
