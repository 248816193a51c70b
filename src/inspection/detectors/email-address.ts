import type { Report } from '../detector.js'
import { isAlphanumeric, isDigit, isLetter } from './ascii.js'

/** RFC 5321 §4.5.3.1 */
const MAX_LOCAL_UNITS = 64
const MAX_DOMAIN_UNITS = 255

/** Names that RFC 2606 and RFC 6761 keep for examples belong to nobody. */
const exampleDomains = [
  ...['example', 'test', 'invalid', 'localhost', 'example.com', 'example.org', 'example.net'],
]

/** Reads to both sides of an `@`. @returns the steps it took */
export function readEmail(text: string, at: number, report: Report): number {
  let start = at
  while (at - start < MAX_LOCAL_UNITS && isLocalUnit(text.charCodeAt(start - 1))) start--
  let end = at + 1
  let dots = 0
  while (end - at <= MAX_DOMAIN_UNITS && isDomainUnit(text.charCodeAt(end))) {
    if (text.charCodeAt(end) === DOT) dots++
    end++
  }
  const steps = end - start
  if (dots === 0 || start === at) return steps
  while (start < at && text.charCodeAt(start) === DOT) start++
  while (end > at && !isAlphanumeric(text.charCodeAt(end - 1)) && text.charCodeAt(end - 1) < 0x80) {
    end--
  }
  const domain = text.slice(at + 1, end).toLowerCase()
  if (start < at && isDomain(domain) && !isExample(domain)) {
    report({ rule: 'email', level: 'plain', start, end, score: 1 })
  }
  return steps
}

const DOT = 0x2e

function isDomain(domain: string): boolean {
  const labels = domain.split('.')
  const top = labels.at(-1) ?? ''
  if (labels.length < 2 || top.length < 2 || isDigit(top.charCodeAt(0))) return false
  return labels.every((label) => label !== '' && !label.startsWith('-'))
}

function isExample(domain: string): boolean {
  return exampleDomains.some((name) => domain === name || domain.endsWith(`.${name}`))
}

/** Letters of every script (RFC 6531), digits, and the signs that mailboxes use. */
function isLocalUnit(unit: number): boolean {
  return isAlphanumeric(unit) || unit === DOT || unit === 0x2b || unit === 0x2d || unit > 0x7f
}

function isDomainUnit(unit: number): boolean {
  return isDigit(unit) || isLetter(unit) || unit === DOT || unit === 0x2d || unit > 0x7f
}
