import { looksDrawn, looksRandom, looksWorded } from '../randomness.js'
import { continuesWord } from './character-runs.js'
import type { CharacterRuns } from './character-runs.js'
import { passwordSchemes } from './secret-formats.js'
import type { SecretFormat } from './secret-formats.js'

/** An anchor: something that only stands in front of a credential, and what to make of the text after it. */
export type Anchor =
  | { readonly kind: 'format'; readonly text: string; readonly format: SecretFormat }
  | { readonly kind: 'jwt' | 'private_key' | 'address' | 'assignment'; readonly text: string }

export interface Secret {
  readonly rule: string
  readonly start: number
  readonly end: number
  readonly score: number
}

/** What stands at an anchor, if it is a credential. @param end offset after the anchor's text */
export function readSecret(
  runs: CharacterRuns,
  anchor: Anchor,
  start: number,
  end: number,
): Secret | undefined {
  switch (anchor.kind) {
    case 'format':
      return readFormat(runs, anchor.format, start, end)
    case 'jwt':
      return readJwt(runs, start)
    case 'private_key':
      return readPrivateKey(runs, start, end)
    case 'address':
      return readAddress(runs, start, end)
    case 'assignment':
      return readAssignment(runs, anchor.text, start, end)
  }
}

function readFormat(
  runs: CharacterRuns,
  format: SecretFormat,
  start: number,
  bodyStart: number,
): Secret | undefined {
  const { text } = runs
  if (text.slice(start, bodyStart) !== format.prefix || continuesWord(text, start)) return undefined
  let end = runs.endOf(format.alphabet, bodyStart)
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
function readJwt(runs: CharacterRuns, start: number): Secret | undefined {
  const { text } = runs
  if (!text.startsWith('eyJ', start) || continuesWord(text, start)) return undefined
  const headerEnd = runs.endOf('base64url', start)
  if (text.charAt(headerEnd) !== '.' || headerEnd - start < 16 || headerEnd - start > 2048)
    return undefined
  const payloadEnd = runs.endOf('base64url', headerEnd + 1)
  if (text.charAt(payloadEnd) !== '.' || payloadEnd - headerEnd < 16) return undefined
  const end = runs.endOf('base64url', payloadEnd + 1)
  if (end - payloadEnd < 32) return undefined
  const header = Buffer.from(text.slice(start, headerEnd), 'base64url').toString('latin1')
  if (!header.includes('"alg"')) return undefined
  return { rule: 'jwt', start, end, score: 1 }
}

/** RFC 7468; what a label may be is short, and a key has at least 40 base64 characters (Ed25519 in PKCS #8: 64). */
function readPrivateKey(
  runs: CharacterRuns,
  start: number,
  labelStart: number,
): Secret | undefined {
  const { text } = runs
  const label = text.slice(labelStart, labelStart + 48)
  const labelEnd = label.indexOf('-----')
  if (labelEnd === -1 || !label.slice(0, labelEnd).includes('PRIVATE KEY')) return undefined
  const bodyStart = labelStart + labelEnd + 5
  const bodyEnd = runs.endOfPem(bodyStart)
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
function readAddress(runs: CharacterRuns, colon: number, start: number): Secret | undefined {
  const { text } = runs
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

/**
 * `name = value`, `"name": "value"`, `name=value`. The name may begin inside a word (`dbpassword`) and go on with
 * words of its own (`password_hash`, `apiKeyOpenai`, `secretkeybase`).
 */
function readAssignment(
  runs: CharacterRuns,
  name: string,
  start: number,
  nameEnd: number,
): Secret | undefined {
  const { text } = runs
  const wholeEnd = runs.endOf('name', nameEnd)
  if (wholeEnd - nameEnd > 24) return undefined
  const claim = claimOf(text, name, start, nameEnd, wholeEnd)
  if (claim === 'other') return undefined
  let index = wholeEnd
  const skip = (set: string, most: number): void => {
    for (let count = 0; count < most && set.includes(text.charAt(index) || '\0'); count++) index++
  }
  skip('"\'`]) ', 4)
  const operator = text.charAt(index)
  if (operator !== '=' && operator !== ':') return undefined
  skip(':=>', 2)
  skip(' \t"\'`', 4)
  const valueStart = index
  const valueEnd = runs.endOf('value', valueStart)
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
  if (claim === 'doubtful' && !/[a-z0-9]{20}/i.test(value)) return undefined
  if (looksWorded(value)) {
    if (claim === 'doubtful' || !chosenNames.has(name)) return undefined
    // Words that are joined describe a password in prose, and are one where a program reads them.
    const read = operator === '=' && wholeEnd === nameEnd
    if (!read && !looksTyped(value)) return undefined
  }
  return { rule: 'assigned_secret', start, end: valueEnd, score: 0.9 }
}

/**
 * Does the whole name, of which `name` is a part, say that its value is a secret? `doubtful`: only a value that an
 * issuer drew, twenty letters and digits in one piece, is one; dates and names of models are not.
 */
function claimOf(
  text: string,
  name: string,
  start: number,
  nameEnd: number,
  end: number,
): 'secret' | 'doubtful' | 'other' {
  // The first begins with the last letter of the name: what follows that letter goes on inside the word.
  const [first = '', ...after] = wordsOf(text.slice(nameEnd - 1, end))
  const rest = first.slice(1)
  if (otherWords.test(rest)) return 'other'
  const last = after.at(-1) ?? rest
  if (after[0] === 'per' || subjects.has(last) || subjects.has(last.replace(/^s/, '')))
    return 'other'
  if (name === 'token') {
    const before = /[a-z0-9_-]*$/i.exec(text.slice(Math.max(0, start - 16), start))?.[0] ?? ''
    if (modelTokens.has(wordsOf(before).at(-1) ?? '')) return 'other'
  }
  return doubtfulSubjects.has(last) ? 'doubtful' : 'secret'
}

/** The words of a name as programs write it, `api_key`, `api-key`, `apiKey2`, in lower case and without numbers. */
function wordsOf(name: string): readonly string[] {
  return name
    .split(/[^a-zA-Z]+|(?<=[a-z])(?=[A-Z])/)
    .filter((word) => word !== '')
    .map((word) => word.toLowerCase())
}

/** How a word goes on that only begins like a name: `tokenizer`, `secretary`, `secretion`, `passwordless`. */
const otherWords = /^(?:i[sz]|ar[iy]|less|ions?$|ive$|ly$|ed$|ing$)/

/** What a secret has: where a name ends in one of these, the value is no secret. */
const subjects: ReadonlySet<string> = new Set([
  ...['name', 'audience', 'url', 'uri', 'path', 'file', 'type', 'id', 'ids', 'count', 'limit'],
  ...['length', 'size', 'endpoint', 'expiry', 'expires', 'version', 'class', 'policy', 'rule'],
  ...['rules', 'format', 'pattern', 'prefix', 'field', 'header', 'param', 'label', 'hint', 'kind'],
  ...['algorithm', 'encoding', 'method', 'manager', 'issuer', 'scope', 'scopes', 'requirements'],
  ...['store', 'ref', 'budget', 'usage', 'index', 'map', 'ttl', 'age', 'lifetime', 'strength'],
])

/** What a secret has, or whose or from when it is: `API_KEY_SERVICE`. */
const doubtfulSubjects: ReadonlySet<string> = new Set([
  ...['at', 'date', 'time', 'model', 'service', 'status', 'provider'],
])

/** What stands before `token` in its name where it is one of a model, or of a list that goes on. */
const modelTokens: ReadonlySet<string> = new Set([
  ...['pad', 'bos', 'eos', 'eot', 'unk', 'sep', 'cls', 'mask', 'special', 'per'],
  ...['next', 'continuation'],
])

/** Secrets that people make up, often of words; all others are drawn by whoever issues them. */
const chosenNames: ReadonlySet<string> = new Set(['password', 'passwd', 'pwd', 'passphrase'])

/** Could someone have made it up as a password? Small letters in joined words name one. */
function looksTyped(value: string): boolean {
  return !/[_-]/.test(value) || /[^a-z0-9_-]/.test(value)
}

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
