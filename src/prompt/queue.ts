import { deny } from '../denial.js'
import type { Denial } from '../denial.js'
import { DependencyError } from '../errors.js'
import { KIB_BYTES, SECOND_MS } from '../units.js'

/** Prompts that may be open at once, of all callers: each keeps the message that it came in alive. */
export const MAX_OPEN_PROMPTS = 2048

/** One caller may have an eighth of the queue, in bytes and in prompts; a single prompt is never too large for it. */
export const SHARES = 8

/** From here on a prompt is large: one piece of work on it takes tens of milliseconds. */
export const LARGE_BYTES = 256 * KIB_BYTES

/** The place of one prompt in the queue. */
export interface Place {
  /** Whose turn it is: the lowest first. */
  readonly turn: number
  leave(): void
}

export interface FairQueue {
  /**
   * A caller beyond its own share is refused: no other caller is at fault, and a failure that one can bring about at
   * will would be an alarm, or a way past an Envoy that fails open.
   *
   * @throws DependencyError all callers together have filled the queue
   */
  enter(caller: string, bytes: number): Place | Denial
  /** Says whose turn has come; who enters now comes after it. */
  reached(turn: number): void
  /** Callers of whom something is kept: those who have a prompt in it. */
  size(): number
}

interface Share {
  prompts: number
  bytes: number
  lastTurn: number
}

/**
 * Which prompts worker threads may examine, and in which order: fair queueing by caller, within bounds.
 *
 * Each prompt gets its turn when it enters: it lies behind what is being served now, or behind the caller's own last
 * one, by the bytes of the prompt, of which `LARGE_BYTES` count at most. So prompts of one size are served round robin
 * by caller, a small one goes before the large ones of others, and those wait until each other caller has had as many
 * bytes examined, no longer.
 */
export function createFairQueue(maxBytes: number): FairQueue {
  const shares = new Map<string, Share>()
  let openPrompts = 0
  let openBytes = 0
  let reachedTurn = 0

  return {
    enter(caller, bytes) {
      const share = shares.get(caller) ?? { prompts: 0, bytes: 0, lastTurn: 0 }
      const isBeyondShare =
        share.bytes + bytes > maxBytes / SHARES || share.prompts >= MAX_OPEN_PROMPTS / SHARES
      if (share.prompts > 0 && isBeyondShare) return tooManyPrompts
      if (openBytes + bytes > maxBytes || openPrompts >= MAX_OPEN_PROMPTS) {
        throw new DependencyError('inspection', 'too many large prompts at once')
      }
      openPrompts += 1
      openBytes += bytes
      share.prompts += 1
      share.bytes += bytes
      share.lastTurn = Math.max(reachedTurn, share.lastTurn) + Math.min(bytes, LARGE_BYTES)
      shares.set(caller, share)
      let left = false
      return {
        turn: share.lastTurn,
        leave() {
          if (left) return
          left = true
          openPrompts -= 1
          openBytes -= bytes
          share.prompts -= 1
          share.bytes -= bytes
          if (share.prompts === 0) shares.delete(caller)
        },
      }
    },
    reached(turn) {
      reachedTurn = Math.max(reachedTurn, turn)
    },
    size: () => shares.size,
  }
}

const tooManyPrompts = deny(
  'too_many_prompts',
  'Too many of your prompts are being examined at once. Try again in 1 s, or send fewer at a time.',
  { retryAfterMs: SECOND_MS },
)
