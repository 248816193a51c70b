import type { Detector, Report } from '../detector.js'
import {
  ibanLength,
  isCardNumber,
  isSocialSecurityNumber,
  passesIbanCheck,
} from '../identifiers.js'
import type { PersonalDataKind } from '../rules.js'
import { readEmail } from './email-address.js'
import { isNorthAmerican, readBracketedPhone, readInternationalPhone } from './phone-number.js'
import { digitsOf, hasOneSeparator, isDash, readGroups, shapeOf } from './written-number.js'
import type { Read, WrittenNumber } from './written-number.js'
import { isAlphanumeric, isDigit, isLetter } from './ascii.js'

const AT = 0x40
const PLUS = 0x2b
const OPEN = 0x28

/**
 * Numbers with check digits, addresses and telephone numbers. Reads the plain form once; from each place where
 * something may begin it looks a few dozen units ahead, whatever stands there.
 */
export function createPersonalDataDetector(kinds: readonly PersonalDataKind[]): Detector {
  const wanted = new Set(kinds)
  const wantsEmail = wanted.has('email')
  const wantsPhone = wanted.has('phone')
  return {
    name: 'personal-data',
    category: 'personal_data',
    detect: (view, _segment, report) => {
      const text = view.plain
      const only: Report = (hit) => {
        if (wanted.has(hit.rule as PersonalDataKind)) report(hit)
      }
      let steps = text.length
      // Nothing begins before it: the units up to there belong to what was just read.
      let readTo = 0
      const take = (read: Read): void => {
        steps += read.steps
        readTo = read.readTo
      }
      for (let index = 0; index < text.length; index++) {
        const unit = text.charCodeAt(index)
        if (unit > AT || index < readTo) continue
        if (isDigit(unit)) take(readFromDigit(text, index, only))
        else if (unit === AT && wantsEmail) steps += readEmail(text, index, only)
        else if (unit === PLUS && wantsPhone) take(readInternationalPhone(text, index, only))
        else if (unit === OPEN && wantsPhone) steps += readBracketedPhone(text, index, only)
      }
      return steps
    },
  }
}

/** @param start offset of a digit */
function readFromDigit(text: string, start: number, report: Report): Read {
  const before = text.charCodeAt(start - 1)
  if (isDigit(before)) return { steps: 1, readTo: start }
  const iban = isAlphanumeric(before) ? readIban(text, start - 2, report) : undefined
  if (iban !== undefined && iban.readTo > start + 2) return iban
  const number = readGroups(text, start)
  const { ends, shapes } = number
  let steps = (ends.at(-1) ?? start) - start + (iban?.steps ?? 0)
  // Groups that follow may belong to something else (an expiry date): every shorter reading is tried too.
  for (let count = ends.length; count > 0; count--) {
    const kind = kindsByShape.get(shapes[count - 1] ?? 0)
    const end = ends[count - 1] ?? start
    if (kind === undefined || !isKind(kind, text, number, count)) continue
    if (isAlphanumeric(before) || isAlphanumeric(text.charCodeAt(end))) {
      steps += 2 * MAX_WORD_UNITS
      if (kind !== 'credit_card' || !isBetweenWords(text, number, count)) continue
    }
    report({ rule: kind, level: 'plain', start, end, score: 1 })
    return { steps, readTo: end }
  }
  return { steps, readTo: ends[0] ?? start }
}

/** The check digit lets one number of ten pass; a short one that touches a word is more often a name of something. */
const MIN_TOUCHING_DIGITS = 15
/** What is longer, or has digits of its own, is an identifier or a hash. */
const MAX_WORD_UNITS = 16

/** Do only letters touch the number, as in `Visa4111...`? */
function isBetweenWords(text: string, number: WrittenNumber, count: number): boolean {
  if (digitsOf(text, number, count).length < MIN_TOUCHING_DIGITS) return false
  let from = number.start - 1
  while (number.start - from <= MAX_WORD_UNITS && isLetter(text.charCodeAt(from))) from--
  const end = number.ends[count - 1] ?? number.start
  let to = end
  while (to - end < MAX_WORD_UNITS && isLetter(text.charCodeAt(to))) to++
  return !isAlphanumeric(text.charCodeAt(from)) && !isAlphanumeric(text.charCodeAt(to))
}

type NumberKind = 'credit_card' | 'us_ssn' | 'phone'

/** How numbers are printed and typed: lengths of the groups between single separators. */
const kindsByShape: ReadonlyMap<number, NumberKind> = new Map([
  ...[12, 13, 14, 15, 16, 17, 18, 19].map((length) => [shapeOf(length), 'credit_card'] as const),
  [shapeOf(4, 4, 4, 4), 'credit_card'],
  [shapeOf(4, 6, 5), 'credit_card'],
  [shapeOf(4, 6, 4), 'credit_card'],
  [shapeOf(4, 4, 4, 1), 'credit_card'],
  [shapeOf(4, 4, 4, 3), 'credit_card'],
  [shapeOf(4, 4, 4, 4, 1), 'credit_card'],
  [shapeOf(4, 4, 4, 4, 2), 'credit_card'],
  [shapeOf(4, 4, 4, 4, 3), 'credit_card'],
  [shapeOf(6, 13), 'credit_card'],
  [shapeOf(3, 2, 4), 'us_ssn'],
  [shapeOf(9), 'us_ssn'],
  [shapeOf(3, 3, 4), 'phone'],
  [shapeOf(1, 3, 3, 4), 'phone'],
])

function isKind(kind: NumberKind, text: string, number: WrittenNumber, count: number): boolean {
  const digits = digitsOf(text, number, count)
  switch (kind) {
    case 'credit_card':
      return hasOneSeparator(text, number, count) && isCardNumber(digits)
    case 'us_ssn':
      if (!hasOneSeparator(text, number, count) || !isSocialSecurityNumber(digits)) return false
      // Nine digits in one piece are one only where the text says so.
      return count > 1 || namesSocialSecurity(text, number.start)
    case 'phone':
      if (count === 3) return isNorthAmerican(digits)
      return digits.startsWith('1') && isNorthAmerican(digits.slice(1))
  }
}

function namesSocialSecurity(text: string, start: number): boolean {
  const before = text.slice(Math.max(0, start - 32), start).toLowerCase()
  return before.includes('ssn') || before.includes('social security')
}

/** ISO 13616: a country, two check digits, in one piece or in groups. @param start offset of the country, or before */
function readIban(text: string, start: number, report: Report): Read {
  const none = { steps: 4, readTo: start + 4 }
  if (start < 0 || isAlphanumeric(text.charCodeAt(start - 1))) return none
  if (!isLetter(text.charCodeAt(start)) || !isLetter(text.charCodeAt(start + 1))) return none
  if (!isDigit(text.charCodeAt(start + 3))) return none
  const length = ibanLength(text.slice(start, start + 2).toUpperCase())
  if (length === undefined) return none
  let iban = ''
  let index = start
  for (; iban.length < length && index < text.length; index++) {
    const unit = text.charCodeAt(index)
    if (isDigit(unit) || isLetter(unit)) iban += text.charAt(index)
    else if ((unit !== 0x20 && !isDash(unit)) || !isAlphanumeric(text.charCodeAt(index + 1))) break
  }
  const steps = index - start
  if (iban.length < length || isAlphanumeric(text.charCodeAt(index))) return { ...none, steps }
  if (!passesIbanCheck(iban.toUpperCase())) return { ...none, steps }
  report({ rule: 'iban', level: 'plain', start, end: index, score: 1 })
  return { steps, readTo: index }
}
