import type { Clock } from '../clock.js'

/** One call that the breaker let through; exactly one of the three is said in the end. */
export interface Admitted {
  succeeded(): void
  failed(): void
  /** The store did answer, but not what it was asked: it counts neither way. */
  undecided(): void
}

/**
 * Stops asking a store that does not answer: after `faultsToOpen` faults in a row calls are refused at once, and
 * one at a time, not before `pauseMs` after the last fault, is let through to see whether it answers again.
 */
export interface Breaker {
  /** Undefined: refused. */
  admit(): Admitted | undefined
  isOpen(): boolean
}

export interface BreakerOptions {
  readonly faultsToOpen: number
  readonly pauseMs: number
  readonly clock: Pick<Clock, 'monotonicMs'>
  readonly onOpen: () => void
  readonly onClose: () => void
}

export function createBreaker(options: BreakerOptions): Breaker {
  const { faultsToOpen, pauseMs, clock, onOpen, onClose } = options
  let faults = 0
  let probeFromMs = 0
  let probing = false

  const isOpen = (): boolean => faults >= faultsToOpen

  return {
    isOpen,
    admit() {
      const open = isOpen()
      if (open && (probing || clock.monotonicMs() < probeFromMs)) return undefined
      if (open) probing = true
      return {
        undecided() {
          if (!open) return
          probing = false
          probeFromMs = clock.monotonicMs() + pauseMs
        },
        succeeded() {
          if (open) probing = false
          if (isOpen()) onClose()
          faults = 0
        },
        failed() {
          if (open) probing = false
          faults += 1
          probeFromMs = clock.monotonicMs() + pauseMs
          if (faults === faultsToOpen) onOpen()
        },
      }
    },
  }
}
