import { AbandonedError, ConfigError, DependencyError, InvalidCallError } from '../errors.js'

/** What a log line may hold, and nothing else. */
export type Loggable = string | number | boolean | null | readonly Loggable[] | LoggableFields

/** The fields of a log line, or of an object in it. */
export interface LoggableFields {
  readonly [name: string]: Loggable
}

const MAX_TEXT_UNITS = 512
const MAX_ENTRIES = 32
const MAX_DEPTH = 3
const CENSORED = '[censored]'

/** Names under which somebody would log a credential, a prompt or a whole message, spelled without `-` and `_`. */
const censoredNames = new Set([
  'authorization',
  'proxyauthorization',
  'apikey',
  'xapikey',
  'cookie',
  'setcookie',
  'headers',
  'rawheaders',
  'body',
  'rawbody',
  'credential',
  'bearer',
  'jwt',
  'accesstoken',
  'idtoken',
  'refreshtoken',
  'clientsecret',
  'secret',
  'password',
  'privatekey',
  'signature',
  'claims',
  'principal',
  'tenant',
  'subject',
  'sub',
  'client',
  'groups',
  'scopes',
  'prompt',
  'prompts',
  'messages',
  'content',
  'text',
  'segments',
  'input',
  'output',
  'request',
  'response',
  'reservation',
  'reservationid',
])

/** A credential that got into some other text: a JWT, an API key, or what follows an authentication scheme. */
const credentialPattern = /eyJ[\w-]{5,}\.[\w.-]*|\b(?:bearer|basic)\s+\S+|\b(?:sk-|tgk_)[\w-]{8,}/gi

/**
 * A copy fit for the log: fields with the name of a secret are censored, texts are shortened and rid of
 * credentials, what is no plain data is named by its kind, errors lose every message that is not ours.
 * Total work is bounded whatever the value.
 */
export function toLoggableFields(fields: object, depth = 0): LoggableFields {
  const copy: Record<string, Loggable> = {}
  for (const [name, item] of Object.entries(fields).slice(0, MAX_ENTRIES)) {
    copy[toText(name)] = isCensored(name, item) ? CENSORED : toLoggable(item, depth + 1)
  }
  return copy
}

function isCensored(name: string, value: unknown): boolean {
  const spelled = name.toLowerCase().replace(/[-_]/g, '')
  // JavaScript can throw anything; what is no error is a text that nobody vouches for.
  if (spelled === 'error' || spelled === 'err') return !(value instanceof Error)
  return censoredNames.has(spelled)
}

function toLoggable(value: unknown, depth: number): Loggable {
  switch (typeof value) {
    case 'string':
      return toText(value)
    case 'number':
    case 'boolean':
      return value
    case 'bigint':
      return String(value)
    case 'undefined':
      return null
    case 'symbol':
    case 'function':
      return `[${typeof value}]`
    case 'object':
      return value === null ? null : toLoggableObject(value, depth)
  }
}

function toText(text: string): string {
  const shortened = text.length > MAX_TEXT_UNITS ? `${text.slice(0, MAX_TEXT_UNITS)}...` : text
  return shortened.replace(credentialPattern, CENSORED)
}

function toLoggableObject(value: object, depth: number): Loggable {
  if (value instanceof Error) return errorToLoggable(value, depth)
  if (depth > MAX_DEPTH) return '[deep]'
  if (Array.isArray(value)) {
    return value.slice(0, MAX_ENTRIES).map((item: unknown) => toLoggable(item, depth + 1))
  }
  const prototype: unknown = Object.getPrototypeOf(value)
  const plain = prototype === Object.prototype || prototype === null
  return plain ? toLoggableFields(value, depth) : '[object]'
}

/**
 * Only our own errors have messages that are known to hold nothing of a request: `JSON.parse` quotes its input,
 * and a library may quote a credential. The frames of the stack and the code say where and what.
 */
function errorToLoggable(error: Error, depth: number): Loggable {
  const copy: Record<string, Loggable> = { name: toText(error.name) }
  if (hasSafeMessage(error)) copy['message'] = toText(error.message)
  if (
    'code' in error &&
    typeof error.code === 'string' &&
    /^[A-Z][A-Z0-9_]{0,63}$/.test(error.code)
  ) {
    copy['code'] = error.code
  }
  const frames = framesOf(error)
  if (frames.length > 0) copy['frames'] = frames
  if (error.cause !== undefined && depth < MAX_DEPTH) {
    copy['cause'] =
      error.cause instanceof Error ? errorToLoggable(error.cause, depth + 1) : CENSORED
  }
  return copy
}

function hasSafeMessage(error: Error): boolean {
  return (
    error instanceof DependencyError ||
    error instanceof AbandonedError ||
    error instanceof ConfigError ||
    error instanceof InvalidCallError
  )
}

/** The stack begins with name and message as they were; what follows is ours. A stack that does not is not trusted. */
function framesOf(error: Error): readonly string[] {
  const { stack } = error
  if (typeof stack !== 'string') return []
  const at = stack.indexOf(error.message)
  const head = at === -1 ? -1 : at + error.message.length
  if (head === -1 || !stack.startsWith('\n    at ', head)) return []
  return stack
    .slice(head + 1)
    .split('\n', 10)
    .map((frame) => toText(frame.trim()))
}
