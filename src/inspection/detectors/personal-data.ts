import type { Detector, Report } from '../detector.js'
import {
  ibanLength,
  isCardNumber,
  isSocialSecurityNumber,
  passesIbanCheck,
} from '../identifiers.js'
import type { PersonalDataKind } from '../rules.js'

/** A number as written: its digits, and the lengths of the groups that single separators make. */
interface WrittenNumber {
  readonly digits: string
  readonly groups: readonly number[]
  /** The separators between the groups, one character each. */
  readonly separators: string
  readonly end: number
}

/** More digits than any number looked for; a longer run is read no further and skipped whole. */
const MAX_DIGITS = 19
/** `4,4,4,4,3` is the longest shape. */
const MAX_GROUPS = 5
const MAX_EMAIL_LOCAL_UNITS = 64
const MAX_EMAIL_DOMAIN_UNITS = 255

/**
 * Numbers with check digits, addresses and telephone numbers. Reads the plain form once; from each place where
 * something may begin it looks at most a few dozen units ahead.
 */
export function createPersonalDataDetector(kinds: readonly PersonalDataKind[]): Detector {
  const wanted = new Set(kinds)
  const numbers = wanted.has('credit_card') || wanted.has('us_ssn') || wanted.has('phone')
  return {
    category: 'personal_data',
    detect: (view, _segment, report) => {
      const text = view.plain
      let steps = text.length
      // No number may begin before it: the digits up to there belong to the run that was just read.
      let digitsReadTo = 0
      for (let index = 0; index < text.length; index++) {
        const unit = text.charCodeAt(index)
        if (unit < 0x28) continue
        if (isDigit(unit)) {
          if (!numbers || index < digitsReadTo || isAlphanumeric(text.charCodeAt(index - 1)))
            continue
          const groupEnd = endOfDigits(text, index)
          digitsReadTo = groupEnd
          if (!mayBegin(groupEnd - index)) continue
          const read = readNumber(text, index, { wanted, report })
          steps += read.steps
          digitsReadTo = Math.max(groupEnd, read.foundTo)
        } else if (unit === AT) {
          if (wanted.has('email')) steps += readEmail(text, index, report)
        } else if (unit === PLUS) {
          if (wanted.has('phone')) steps += readInternationalPhone(text, index, report)
        } else if (unit === OPEN) {
          if (wanted.has('phone')) steps += readBracketedPhone(text, index, report)
        } else if (
          isLetter(unit) &&
          wanted.has('iban') &&
          !isAlphanumeric(text.charCodeAt(index - 1))
        ) {
          steps += readIban(text, index, report)
        }
      }
      return steps
    },
  }
}

const AT = 0x40
const PLUS = 0x2b
const OPEN = 0x28
const isDigit = (unit: number): boolean => unit >= 0x30 && unit <= 0x39
const isLetter = (unit: number): boolean => (unit | 0x20) >= 0x61 && (unit | 0x20) <= 0x7a
const isAlphanumeric = (unit: number): boolean => isDigit(unit) || isLetter(unit) || unit === 0x5f

/** A first group of any other length begins nothing that is looked for: most numbers end here. */
function mayBegin(groupLength: number): boolean {
  return (
    groupLength === 1 ||
    groupLength === 3 ||
    groupLength === 4 ||
    groupLength === 9 ||
    (groupLength >= 12 && groupLength <= MAX_DIGITS)
  )
}

function endOfDigits(text: string, from: number): number {
  let end = from
  while (isDigit(text.charCodeAt(end))) end++
  return end
}

/** Reads groups of digits between single separators, up to `MAX_GROUPS` of them, and no further than a digit. */
function writtenNumber(text: string, from: number, separatorsAllowed: string): WrittenNumber {
  let digits = ''
  let separators = ''
  const groups: number[] = []
  let start = from
  for (;;) {
    // One digit more than any number has: the rest of a long group is not looked at again.
    let end = start
    while (end - start <= MAX_DIGITS && isDigit(text.charCodeAt(end))) end++
    digits += text.slice(start, end)
    groups.push(end - start)
    const separator = text.charAt(end)
    const goesOn =
      groups.length < MAX_GROUPS &&
      separator !== '' &&
      separatorsAllowed.includes(separator) &&
      isDigit(text.charCodeAt(end + 1))
    if (!goesOn) return { digits, groups, separators, end }
    separators += separator
    start = end + 1
  }
}

/** How cards are printed and typed: in one piece, or by the brand's groups with one kind of separator. */
const cardGroups = new Set([
  '4,4,4,4',
  '4,6,5',
  '4,6,4',
  '4,4,4,4,3',
  '4,4,4,4,2',
  '4,4,4,4,1',
  '4,4,4,1',
  '6,13',
])

function readNumber(
  text: string,
  start: number,
  { wanted, report }: { wanted: ReadonlySet<PersonalDataKind>; report: Report },
): { readonly steps: number; readonly foundTo: number } {
  const number = writtenNumber(text, start, ' -.')
  const steps = number.end - start
  // Groups that follow may belong to something else (an expiry date): every shorter reading is tried too.
  for (let count = number.groups.length; count > 0; count--) {
    const groups = number.groups.slice(0, count)
    const length = groups.reduce((sum, size) => sum + size, 0)
    const end = start + length + count - 1
    if (isAlphanumeric(text.charCodeAt(end))) continue
    const digits = number.digits.slice(0, length)
    const separators = number.separators.slice(0, count - 1)
    const kind = kindOfNumber(text, start, { digits, groups, separators, end })
    if (kind === undefined || !wanted.has(kind)) continue
    report({ rule: kind, level: 'plain', start, end, score: 1 })
    return { steps, foundTo: end }
  }
  return { steps, foundTo: start }
}

function kindOfNumber(
  text: string,
  start: number,
  number: WrittenNumber,
): PersonalDataKind | undefined {
  const { digits, groups, separators } = number
  const shape = groups.join()
  const oneSeparator = new Set(separators).size <= 1
  if (oneSeparator && (groups.length === 1 || cardGroups.has(shape)) && isCardNumber(digits)) {
    return 'credit_card'
  }
  if (shape === '3,2,4' && oneSeparator && separators !== '..' && isSocialSecurityNumber(digits)) {
    return 'us_ssn'
  }
  if (shape === '9' && isSocialSecurityNumber(digits) && namesSocialSecurity(text, start))
    return 'us_ssn'
  // North American numbering: area code and exchange begin with 2 to 9.
  const national = shape === '1,3,3,4' && digits.startsWith('1') ? digits.slice(1) : digits
  if ((shape === '3,3,4' || shape === '1,3,3,4') && isNorthAmerican(national)) return 'phone'
  return undefined
}

/** Nine digits in one piece are a social security number only where the text says so. */
function namesSocialSecurity(text: string, start: number): boolean {
  const before = text.slice(Math.max(0, start - 32), start).toLowerCase()
  return before.includes('ssn') || before.includes('social security')
}

function isNorthAmerican(digits: string): boolean {
  return digits.length === 10 && digits.charAt(0) >= '2' && digits.charAt(3) >= '2'
}

/** ITU-T E.164: `+`, a country code that does not begin with 0, at most 15 digits; here at least 8. */
function readInternationalPhone(text: string, start: number, report: Report): number {
  if (isAlphanumeric(text.charCodeAt(start - 1))) return 1
  let digits = 0
  let end = start + 1
  let index = start + 1
  let gap = 0
  // `+44 (0)20 7946 0000`: up to three signs may stand between two digits.
  while (digits <= 15 && gap <= 3 && index < text.length) {
    if (isDigit(text.charCodeAt(index))) {
      digits++
      gap = 0
      end = index + 1
    } else if (' -.()/'.includes(text[index] ?? 'x')) {
      gap++
    } else {
      break
    }
    index++
  }
  const first = text.charAt(start + 1)
  if (
    digits >= 8 &&
    digits <= 15 &&
    first >= '1' &&
    first <= '9' &&
    !isAlphanumeric(text.charCodeAt(end))
  ) {
    report({ rule: 'phone', level: 'plain', start, end, score: 1 })
  }
  return index - start
}

/** `(212) 555-0123` */
function readBracketedPhone(text: string, start: number, report: Report): number {
  const area = text.slice(start + 1, start + 4)
  if (text.charAt(start + 4) !== ')') return 5
  const rest = start + (text.charAt(start + 5) === ' ' ? 6 : 5)
  if (!isDigit(text.charCodeAt(rest))) return 6
  const number = writtenNumber(text, rest, ' -.')
  const allDigits =
    isDigit(area.charCodeAt(0)) && isDigit(area.charCodeAt(1)) && isDigit(area.charCodeAt(2))
  if (allDigits && number.groups.join() === '3,4' && isNorthAmerican(area + number.digits)) {
    report({ rule: 'phone', level: 'plain', start, end: number.end, score: 1 })
  }
  return number.end - start
}

function readIban(text: string, start: number, report: Report): number {
  const country = text.slice(start, start + 2).toUpperCase()
  const length =
    isDigit(text.charCodeAt(start + 2)) && isDigit(text.charCodeAt(start + 3))
      ? ibanLength(country)
      : undefined
  if (length === undefined) return 4
  let iban = ''
  let index = start
  for (; iban.length < length && index < text.length; index++) {
    const unit = text.charCodeAt(index)
    if (isAlphanumeric(unit) && unit !== 0x5f) iban += text.charAt(index)
    else if (!' -'.includes(text.charAt(index)) || !isAlphanumeric(text.charCodeAt(index + 1)))
      break
  }
  if (
    iban.length === length &&
    !isAlphanumeric(text.charCodeAt(index)) &&
    passesIbanCheck(iban.toUpperCase())
  ) {
    report({ rule: 'iban', level: 'plain', start, end: index, score: 1 })
  }
  return index - start
}

/** Domains that RFC 2606 and RFC 6761 keep for examples belong to nobody. */
const exampleDomain = [
  'example',
  'test',
  'invalid',
  'localhost',
  'example.com',
  'example.org',
  'example.net',
]

function readEmail(text: string, at: number, report: Report): number {
  let start = at
  while (start > 0 && at - start < MAX_EMAIL_LOCAL_UNITS && isLocalUnit(text.charCodeAt(start - 1)))
    start--
  while (start < at && text.charAt(start) === '.') start++
  let end = at + 1
  while (end - at <= MAX_EMAIL_DOMAIN_UNITS && isDomainUnit(text.charCodeAt(end))) end++
  const steps = end - start
  while (end > at && !isAlphanumeric(text.charCodeAt(end - 1))) end--
  const domain = text.slice(at + 1, end).toLowerCase()
  const labels = domain.split('.')
  const top = labels.at(-1) ?? ''
  const plausible =
    start < at &&
    labels.length >= 2 &&
    labels.every((label) => label !== '' && !label.startsWith('-')) &&
    top.length >= 2 &&
    isLetter(top.charCodeAt(0))
  const isExample = exampleDomain.some((name) => domain === name || domain.endsWith(`.${name}`))
  if (plausible && !isExample) report({ rule: 'email', level: 'plain', start, end, score: 1 })
  return steps
}

const isLocalUnit = (unit: number): boolean =>
  isAlphanumeric(unit) ||
  unit === 0x2e ||
  unit === 0x2b ||
  unit === 0x2d ||
  unit === 0x25 ||
  unit > 0x7f

const isDomainUnit = (unit: number): boolean =>
  isDigit(unit) || isLetter(unit) || unit === 0x2e || unit === 0x2d || unit > 0x7f
