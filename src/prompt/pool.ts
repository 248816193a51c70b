import type { Worker } from 'node:worker_threads'
import { isDenial } from '../denial.js'
import type { Denial } from '../denial.js'
import { AbandonedError, DependencyError } from '../errors.js'
import type { Source, Work, WorkerAnswer } from './messages.js'
import { createFairQueue, LARGE_BYTES } from './queue.js'
import { startThread } from './thread.js'
import type { After, Thread } from './thread.js'

export interface PoolOptions {
  readonly startWorker: () => Worker
  readonly workers: number
  /** How long a piece of work may wait for a worker, and then how long it may take. */
  readonly timeoutMs: number
  /** All prompts that are open at once, together. */
  readonly maxOpenBytes: number
  readonly after: After
}

/** A prompt that has a place in the pool. */
export interface HeldPrompt {
  /**
   * @throws DependencyError no worker was free in time, or the one that had the piece ended
   * @throws AbandonedError the signal fired while it waited
   */
  run(work: Work): Promise<WorkerAnswer>
  /** Frees the place; call it once nothing is under way, as often as you like. */
  close(): void
}

/** Worker threads, and the pieces of work that wait for them. */
export interface Pool {
  /** @throws DependencyError there is no room for another prompt of anybody */
  hold(source: Source, caller: string, signal: AbortSignal): HeldPrompt | Denial
  /** @throws DependencyError a worker ended before it took work */
  ready(): Promise<void>
  close(): Promise<void>
}

interface Waiting {
  readonly source: Source
  readonly work: Work
  readonly turn: number
  resolve(answer: Promise<WorkerAnswer>): void
  reject(error: Error): void
  /** Stops the clock of waiting, and no longer listens for the signal. */
  stopWaiting(): void
}

/**
 * Each free worker takes the piece whose turn it is (`queue.ts`). Large prompts leave one worker to the others, if there
 * is more than one: a small prompt never waits for a large one to be done, however many callers send them.
 */
export function createPool(options: PoolOptions): Pool {
  const { workers, timeoutMs, after } = options
  const queue = createFairQueue(options.maxOpenBytes)
  const waiting = new Set<Waiting>()
  const threads: Thread[] = []
  let largeUnderWay = 0
  let isDispatchingSoon = false
  let isClosed = false

  for (let index = 0; index < workers; index += 1) start(index)

  function start(index: number): void {
    const thread = startThread(options)
    threads[index] = thread
    thread.ready.then(dispatchSoon, () => undefined)
    void thread.ended.then(({ error, wasAtWork }) => {
      if (isClosed || threads[index] !== thread) return
      // One that ends with nothing in hand could do so for ever: it is replaced when the next piece comes.
      if (wasAtWork) start(index)
      else if (threads.every(isDead)) failAll(error)
    })
  }

  function replaceDead(): void {
    threads.forEach((thread, index) => {
      if (isDead(thread)) start(index)
    })
  }

  /**
   * Not at once: the prompt whose piece was just done goes on in this very turn of the event loop, and it was here
   * before the others.
   */
  function dispatchSoon(): void {
    if (isDispatchingSoon) return
    isDispatchingSoon = true
    setImmediate(() => {
      isDispatchingSoon = false
      dispatch()
    })
  }

  function dispatch(): void {
    for (const thread of threads) {
      if (thread.state() !== 'idle') continue
      const piece = nextPiece()
      if (piece === undefined) return
      takeOut(piece)
      queue.reached(piece.turn)
      piece.resolve(workOn(thread, piece))
    }
  }

  async function workOn(thread: Thread, { source, work }: Waiting): Promise<WorkerAnswer> {
    const large = isLarge(source) ? 1 : 0
    largeUnderWay += large
    try {
      return await thread.work({ source, work })
    } finally {
      largeUnderWay -= large
      dispatchSoon()
    }
  }

  function nextPiece(): Waiting | undefined {
    // A worker that is dead or starting counts as busy.
    const away = threads.filter((thread) => isDead(thread) || thread.state() === 'starting').length
    const isLargeHeldBack = workers > 1 && largeUnderWay + away >= workers - 1
    let next: Waiting | undefined
    for (const piece of waiting) {
      if (isLarge(piece.source) && isLargeHeldBack) continue
      if (next === undefined || piece.turn < next.turn) next = piece
    }
    return next
  }

  function takeOut(piece: Waiting): void {
    piece.stopWaiting()
    waiting.delete(piece)
  }

  function failAll(error: DependencyError): void {
    for (const piece of waiting) {
      takeOut(piece)
      piece.reject(error)
    }
  }

  function enqueue(
    source: Source,
    work: Work,
    turn: number,
    signal: AbortSignal,
  ): Promise<WorkerAnswer> {
    return new Promise((resolve, reject) => {
      const give = (error: Error): void => {
        takeOut(piece)
        reject(error)
      }
      const abandon = (): void => {
        give(new AbandonedError('given up while a large prompt waited'))
      }
      signal.addEventListener('abort', abandon, { once: true })
      const stopClock = after(timeoutMs, () => {
        give(new DependencyError('inspection', 'no worker free in time'))
      })
      const stopWaiting = (): void => {
        stopClock()
        signal.removeEventListener('abort', abandon)
      }
      const piece: Waiting = { source, work, turn, resolve, reject, stopWaiting }
      waiting.add(piece)
      if (!isDispatchingSoon) dispatch()
    })
  }

  return {
    hold(source, caller, signal) {
      if (isClosed) throw closedError()
      const place = queue.enter(caller, source.body.length)
      if (isDenial(place)) return place
      return {
        async run(work) {
          if (isClosed) throw closedError()
          if (signal.aborted) throw new AbandonedError('given up before a large prompt was read')
          replaceDead()
          return enqueue(source, work, place.turn, signal)
        },
        close() {
          place.leave()
        },
      }
    },
    async ready() {
      await Promise.all(threads.map((thread) => thread.ready))
    },
    async close() {
      isClosed = true
      failAll(closedError())
      await Promise.all(threads.map((thread) => thread.stop()))
    },
  }
}

function isDead(thread: Thread): boolean {
  return thread.state() === 'dead'
}

function isLarge(source: Source): boolean {
  return source.body.length > LARGE_BYTES
}

function closedError(): DependencyError {
  return new DependencyError('inspection', 'the prompt reader is closed')
}
