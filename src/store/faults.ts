import { DependencyError, UndecidedError } from '../errors.js'

/** The store refused, or could not be asked: nothing of the call took effect. */
export function refusedFault(what: string): DependencyError {
  return new DependencyError('ledger', what)
}

/** Sent, and no answer came in time: it may have taken effect, or may yet until its deadline. */
export class UnansweredError extends DependencyError {
  constructor(message: string) {
    super('ledger', message)
    this.name = 'UnansweredError'
  }
}

/** Redis has no memory left: it refused the call, which it might not had the script been one that it runs even then. */
export class OutOfMemoryError extends DependencyError {
  constructor(message: string) {
    super('ledger', message)
    this.name = 'OutOfMemoryError'
  }
}

/**
 * A script gave up on what it found in one key, before its first write: nothing of the call took effect; but under the
 * keys of envoyproxy/ratelimit, where what stands before that key has been counted, as there. The store is well, and
 * other calls are none the worse.
 */
export class ScriptError extends DependencyError {
  constructor(message: string) {
    super('ledger', message)
    this.name = 'ScriptError'
  }
}

/** Did the store answer, and is what failed of this call alone? Then it fails again, and others have no reason to wait. */
export function isOfOneCall(error: unknown): boolean {
  return error instanceof ScriptError || error instanceof UndecidedError
}

/** `READONLY` of `READONLY You can't write against a read only replica.`; undefined if it is no reply of Redis. */
export function errorCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || error.name !== 'ReplyError') return undefined
  return /^[A-Z]{2,20}(?= |$)/.exec(error.message)?.[0] ?? 'an error'
}

/** As the script itself raises it; Redis 6 says so with more words. */
const RAISED = /^ERR (Error running script .*)?user_script:\d+: /
/** A key that the script found, of a slot that is being moved, has gone to another node already. */
const GONE = /^ERR Script attempted to access a non local key\b/

/** What another program has written there is no counter. */
const NO_INTEGER = /^ERR value is not an integer or out of range\b/

/** Was it raised by the script itself, or for what it read? What Redis lacks as a whole has its own code. */
export function isOfScript(code: string, error: unknown): boolean {
  if (code === 'WRONGTYPE') return true
  if (!(error instanceof Error)) return false
  return [RAISED, GONE, NO_INTEGER].some((pattern) => pattern.test(error.message))
}

/**
 * What may be logged of an error reply. The error itself may not: it carries the command with its arguments, and
 * some messages repeat them. What a script broke on says no more than where.
 */
export function describeReply(code: string, error: unknown): string {
  const place = error instanceof Error ? /user_script:\d+: .{1,80}/.exec(error.message)?.[0] : ''
  return `Redis answered ${code}${place ? ` (${place})` : ''}`
}
