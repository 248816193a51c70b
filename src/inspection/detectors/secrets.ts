import { compileAutomaton } from '../aho-corasick.js'
import type { Detector, Report } from '../detector.js'
import { looksDrawn, looksRandom } from '../randomness.js'
import { passwordSchemes, secretFormats, secretNames } from './secret-formats.js'
import type { Alphabet, SecretFormat } from './secret-formats.js'

const member: Readonly<Record<Alphabet | 'value' | 'name', Uint8Array>> = {
  alphanumeric: setOf('a-zA-Z0-9'),
  base64url: setOf('a-zA-Z0-9_-'),
  base64: setOf('a-zA-Z0-9+/='),
  hex: setOf('0-9a-fA-F'),
  upperBase32: setOf('A-Z2-7'),
  dotted: setOf('a-zA-Z0-9_./-'),
  value: setOf('a-zA-Z0-9_.!@#$%^&*+/=~?-'),
  name: setOf('a-zA-Z0-9_-'),
}

function setOf(ranges: string): Uint8Array {
  const set = new Uint8Array(0x80)
  const expression = new RegExp(`[${ranges}]`)
  for (let unit = 0; unit < set.length; unit++) {
    set[unit] = expression.test(String.fromCharCode(unit)) ? 1 : 0
  }
  return set
}

/** An anchor: something that only stands in front of a credential, and what to make of the text after it. */
type Anchor =
  | { readonly kind: 'format'; readonly text: string; readonly format: SecretFormat }
  | { readonly kind: 'jwt' | 'private_key' | 'address' | 'assignment'; readonly text: string }

const anchors: readonly Anchor[] = [
  ...secretFormats.map((format): Anchor => ({ kind: 'format', text: format.prefix, format })),
  { kind: 'jwt', text: 'eyJ' },
  { kind: 'private_key', text: '-----BEGIN ' },
  { kind: 'address', text: '://' },
  ...secretNames.map((text): Anchor => ({ kind: 'assignment', text })),
]

/**
 * Credentials: formats with a prefix of their issuer, signed bearers, private keys, addresses with a password,
 * and values that a name like `password` is given. Reads the plain form. Placeholders and samples are no finding.
 */
export function createSecretsDetector(): Detector {
  const symbolOf = Uint16Array.from({ length: 0x10000 }, (_, unit) =>
    unit >= 0x41 && unit <= 0x5a ? unit | 0x20 : unit,
  )
  const groups = groupByText(anchors)
  const patterns = [...groups.keys()].map((text) => [...text].map((one) => one.charCodeAt(0)))
  const anchorsOf = [...groups.values()]
  const automaton = compileAutomaton(patterns, { symbolOf, boundary: undefined })
  return {
    category: 'secrets',
    detect: (view, _segment, report) => {
      const reader = createReader(view.plain)
      const found = createOutermost(report)
      let steps = 0
      steps += automaton.scan(view.plain, (pattern, end) => {
        for (const anchor of anchorsOf[pattern] ?? []) {
          const start = end - anchor.text.length
          if (start < found.until()) continue
          const secret = readSecret(reader, anchor, start, end)
          if (secret !== undefined) found.add(secret)
        }
      })
      return steps + reader.steps()
    },
  }
}

function groupByText(all: readonly Anchor[]): ReadonlyMap<string, readonly Anchor[]> {
  const groups = new Map<string, Anchor[]>()
  for (const anchor of all) {
    const key = anchor.text.toLowerCase()
    const group = groups.get(key)
    if (group === undefined) groups.set(key, [anchor])
    else group.push(anchor)
  }
  return groups
}

interface Secret {
  readonly rule: string
  readonly start: number
  readonly end: number
  readonly score: number
}

/** Reports a secret once, also where several anchors lie in it. */
function createOutermost(report: Report): { until: () => number; add: (secret: Secret) => void } {
  let until = 0
  return {
    until: () => until,
    add: (secret) => {
      until = secret.end
      report({ ...secret, level: 'plain' })
    },
  }
}

/** Runs of one kind of character. A run is measured once: anchors inside it see its end for free. */
interface Reader {
  readonly text: string
  /** End of the run of `kind` that begins at `from`; `from` itself where none does. */
  endOf: (kind: keyof typeof member, from: number) => number
  /** End of the text of a PEM block that begins at `from`: up to two dashes or a character that no block holds. */
  endOfPem: (from: number) => number
  steps: () => number
}

function createReader(text: string): Reader {
  const known = new Map<string, { from: number; end: number }>()
  let steps = 0
  const measure = (key: string, from: number, belongs: (index: number) => boolean): number => {
    const run = known.get(key)
    if (run !== undefined && from >= run.from && from < run.end) return run.end
    let end = from
    while (end < text.length && belongs(end)) end++
    steps += end - from + 1
    known.set(key, { from, end })
    return end
  }
  return {
    text,
    endOf: (kind, from) =>
      measure(kind, from, (index) => member[kind][text.charCodeAt(index)] === 1),
    endOfPem: (from) =>
      measure('pem', from, (index) => {
        const unit = text.charCodeAt(index)
        if (unit === DASH) return text.charCodeAt(index + 1) !== DASH
        return member.base64[unit] === 1 || PEM_EXTRA.includes(text.charAt(index))
      }),
    steps: () => steps,
  }
}

const DASH = 0x2d
/** White space, its escapes, and the punctuation of the header lines of encrypted keys. */
const PEM_EXTRA = ' \n\r\t\\:,'

function readSecret(
  reader: Reader,
  anchor: Anchor,
  start: number,
  end: number,
): Secret | undefined {
  switch (anchor.kind) {
    case 'format':
      return readFormat(reader, anchor.format, start, end)
    case 'jwt':
      return readJwt(reader, start)
    case 'private_key':
      return readPrivateKey(reader, start, end)
    case 'address':
      return readAddress(reader, start, end)
    case 'assignment':
      return readAssignment(reader, start, end)
  }
}

function continuesWord(text: string, start: number): boolean {
  return start > 0 && member.alphanumeric[text.charCodeAt(start - 1)] === 1
}

function readFormat(
  reader: Reader,
  format: SecretFormat,
  start: number,
  bodyStart: number,
): Secret | undefined {
  const { text } = reader
  if (text.slice(start, bodyStart) !== format.prefix || continuesWord(text, start)) return undefined
  let end = reader.endOf(format.alphabet, bodyStart)
  // A full stop at the end of a sentence is none of the credential.
  while (end > bodyStart && text.charAt(end - 1) === '.') end--
  const length = end - bodyStart
  if (length < format.minLength || length > format.maxLength) return undefined
  const body = text.slice(bodyStart, end)
  if (format.holds !== undefined && !body.includes(format.holds)) return undefined
  if (!looksDrawn(body)) return undefined
  return { rule: format.rule, start, end, score: 1 }
}

/** RFC 7519: three base64url parts, of which the first is a JSON object that names an algorithm. */
function readJwt(reader: Reader, start: number): Secret | undefined {
  const { text } = reader
  if (!text.startsWith('eyJ', start) || continuesWord(text, start)) return undefined
  const headerEnd = reader.endOf('base64url', start)
  if (text.charAt(headerEnd) !== '.' || headerEnd - start < 16 || headerEnd - start > 2048)
    return undefined
  const payloadEnd = reader.endOf('base64url', headerEnd + 1)
  if (text.charAt(payloadEnd) !== '.' || payloadEnd - headerEnd < 16) return undefined
  const end = reader.endOf('base64url', payloadEnd + 1)
  if (end - payloadEnd < 32) return undefined
  const header = Buffer.from(text.slice(start, headerEnd), 'base64url').toString('latin1')
  if (!header.includes('"alg"')) return undefined
  return { rule: 'jwt', start, end, score: 1 }
}

/** RFC 7468; what a label may be is short, and a key has at least 40 base64 characters (Ed25519 in PKCS #8: 64). */
function readPrivateKey(reader: Reader, start: number, labelStart: number): Secret | undefined {
  const { text } = reader
  const label = text.slice(labelStart, labelStart + 48)
  const labelEnd = label.indexOf('-----')
  if (labelEnd === -1 || !label.slice(0, labelEnd).includes('PRIVATE KEY')) return undefined
  const bodyStart = labelStart + labelEnd + 5
  const bodyEnd = reader.endOfPem(bodyStart)
  const sample = text.slice(bodyStart, Math.min(bodyEnd, bodyStart + 512)).replace(/[\s\\]/g, '')
  if (sample.length < 40 || !looksDrawn(sample.slice(-256))) return undefined
  const close = text.slice(bodyEnd, bodyEnd + 64)
  const closeEnd = close.startsWith('-----END ') ? close.indexOf('-----', 9) : -1
  return {
    rule: 'private_key',
    start,
    end: closeEnd === -1 ? bodyEnd : bodyEnd + closeEnd + 5,
    score: 1,
  }
}

/** RFC 3986 §3.2.1: `scheme://user:password@host`. */
function readAddress(reader: Reader, colon: number, start: number): Secret | undefined {
  const { text } = reader
  let schemeStart = colon
  while (colon - schemeStart < 12 && /[a-z+]/i.test(text.charAt(schemeStart - 1))) schemeStart--
  if (!passwordSchemes.has(text.slice(schemeStart, colon).toLowerCase())) return undefined
  const authority = text.slice(start, start + 256)
  const stop = authority.search(/[\s/"'<>`]/)
  const userInfo = stop === -1 ? authority : authority.slice(0, stop)
  const at = userInfo.lastIndexOf('@')
  const separator = userInfo.indexOf(':')
  if (at === -1 || separator === -1 || separator > at || at === userInfo.length - 1)
    return undefined
  const password = userInfo.slice(separator + 1, at)
  if (password.length < 6 || isPlaceholder(password) || !looksChosen(password)) return undefined
  const end = start + (stop === -1 ? authority.length : stop)
  return { rule: 'connection_string', start: schemeStart, end, score: 0.95 }
}

/** `name = value`, `"name": "value"`, `name=value`: the name may go on (`db_password`, `password_hash`). */
function readAssignment(reader: Reader, start: number, nameEnd: number): Secret | undefined {
  const { text } = reader
  let index = reader.endOf('name', nameEnd)
  // `token_url`, `secret_name`: what is given is no secret.
  if (index - nameEnd > 24 || aboutSecret.test(text.slice(nameEnd, index))) return undefined
  const skip = (set: string, most: number): void => {
    for (let count = 0; count < most && set.includes(text.charAt(index) || '\0'); count++) index++
  }
  skip('"\'`]) ', 4)
  const operator = text.charAt(index)
  if (operator !== '=' && operator !== ':') return undefined
  skip(':=>', 2)
  skip(' \t"\'`', 4)
  const valueStart = index
  const valueEnd = reader.endOf('value', valueStart)
  const value = text.slice(valueStart, Math.min(valueEnd, valueStart + 200))
  if (value.length < 10 || value.length > 128 || isPlaceholder(value)) return undefined
  // A value that a program computes: a call, a member, a path.
  if (
    text.charAt(valueEnd) === '(' ||
    /^[a-z_$]+\.[a-z]/i.test(value) ||
    (value.includes('/') && value.includes('.'))
  )
    return undefined
  if (!looksRandom(value)) return undefined
  return { rule: 'assigned_secret', start, end: valueEnd, score: 0.9 }
}

// A choice of whole words at the end of at most 24 characters.
const aboutSecret =
  /(?:name|audience|url|uri|path|file|type|id|ids|count|limit|length|size|endpoint|expiry|expires|version)$/i

const placeholderWords = [
  ...[
    'example',
    'placeholder',
    'changeme',
    'change_me',
    'your',
    'xxxx',
    'redacted',
    'password',
    'passwd',
    'secret',
    'dummy',
  ],
  ...[
    'sample',
    'insert',
    'replace',
    '****',
    '....',
    'foobar',
    'test',
    'todo',
    '12345',
    'process.env',
    'environ',
    'config',
    'abcdef',
  ],
]

function isPlaceholder(value: string): boolean {
  const lower = value.toLowerCase()
  return /^[<{$%[]/.test(value) || placeholderWords.some((word) => lower.includes(word))
}

/** Not a word alone: letters with digits, or letters of both cases with no order in them. */
function looksChosen(password: string): boolean {
  if (/[0-9]/.test(password) && /[a-z]/i.test(password)) return true
  return /[a-z][A-Z]/.test(password) && looksDrawn(password)
}
