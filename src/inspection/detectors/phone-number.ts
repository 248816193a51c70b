import type { Report } from '../detector.js'
import { isAlphanumeric, isDigit } from './ascii.js'
import { digitsOf, readGroups, shapeOf } from './written-number.js'
import type { Read } from './written-number.js'

const MIN_INTERNATIONAL_DIGITS = 8
/** ITU-T E.164 §6.2.1 */
const MAX_INTERNATIONAL_DIGITS = 15

/** The North American plan: area code and exchange begin with 2 to 9. @param digits digits only */
export function isNorthAmerican(digits: string): boolean {
  return digits.length === 10 && digits.charAt(0) >= '2' && digits.charAt(3) >= '2'
}

/** `+`, a country code that does not begin with 0, 8 to 15 digits. */
export function readInternationalPhone(text: string, start: number, report: Report): Read {
  const first = text.charCodeAt(start + 1)
  if (!isDigit(first) || first === 0x30 || isAlphanumeric(text.charCodeAt(start - 1))) {
    return { steps: 1, readTo: start }
  }
  let digits = 0
  let end = start + 1
  let index = start + 1
  // `+44 (0)20 7946 0000`: up to three signs may stand between two digits.
  for (; digits <= MAX_INTERNATIONAL_DIGITS && index - end <= 3; index++) {
    const unit = text.charCodeAt(index)
    if (isDigit(unit)) {
      digits++
      end = index + 1
    } else if (!isPhoneSign(unit)) {
      break
    }
  }
  const fits = digits >= MIN_INTERNATIONAL_DIGITS && digits <= MAX_INTERNATIONAL_DIGITS
  const steps = index - start
  if (!fits || isAlphanumeric(text.charCodeAt(end))) return { steps, readTo: start }
  report({ rule: 'phone', level: 'plain', start, end, score: 1 })
  return { steps, readTo: end }
}

/** Space, hyphen, full stop, brackets, slash. */
function isPhoneSign(unit: number): boolean {
  return unit === 0x20 || (unit >= 0x2d && unit <= 0x2f) || unit === 0x28 || unit === 0x29
}

/** `(212) 555-0123`. @returns the steps it took */
export function readBracketedPhone(text: string, start: number, report: Report): number {
  if (text.charAt(start + 4) !== ')') return 1
  const rest = start + (text.charAt(start + 5) === ' ' ? 6 : 5)
  if (!isDigit(text.charCodeAt(rest))) return 6
  const number = readGroups(text, rest)
  const end = number.ends[1] ?? rest
  if (number.shapes[1] === localShape) {
    const digits = text.slice(start + 1, start + 4) + digitsOf(text, number, 2)
    if (/^[0-9]{10}$/.test(digits) && isNorthAmerican(digits)) {
      report({ rule: 'phone', level: 'plain', start, end, score: 1 })
    }
  }
  return (number.ends.at(-1) ?? rest) - start
}

const localShape = shapeOf(3, 4)
