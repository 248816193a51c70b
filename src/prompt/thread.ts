import type { Worker } from 'node:worker_threads'
import { DependencyError } from '../errors.js'
import type { WorkerAnswer, WorkerReady, WorkerRequest } from './messages.js'

/** How long after its bound a worker may still finish a piece before it is taken for stuck. */
const GRACE_MS = 500

/** Runs something later; the answer takes it back. */
export type After = (delayMs: number, run: () => void) => () => void

export interface ThreadOptions {
  readonly startWorker: () => Worker
  /** For one piece of work, from when the worker has it. */
  readonly timeoutMs: number
  readonly after: After
}

/** How a worker came to its end. */
export interface ThreadEnd {
  readonly error: DependencyError
  /** It had a piece in hand, which failed. */
  readonly wasAtWork: boolean
}

/** One worker thread, which does one piece of work at a time. */
export interface Thread {
  /** Resolves when the worker takes work; rejects when it ended before. */
  readonly ready: Promise<void>
  readonly ended: Promise<ThreadEnd>
  state(): 'starting' | 'idle' | 'at_work' | 'dead'
  /**
   * Only for one that is idle. The clock runs from here: a worker that does not answer in time is stuck, and ended.
   *
   * @throws DependencyError the worker ended
   */
  work(request: WorkerRequest): Promise<WorkerAnswer>
  stop(): Promise<void>
}

interface Piece {
  resolve(answer: WorkerAnswer): void
  reject(error: DependencyError): void
  readonly stopClock: () => void
}

export function startThread({ startWorker, timeoutMs, after }: ThreadOptions): Thread {
  const worker = startWorker()
  let current: Piece | undefined
  let life: 'starting' | 'ready' | 'dead' = 'starting'
  let announceReady = (): void => undefined
  let announceNeverReady = (_error: DependencyError): void => undefined
  let announceEnd = (_end: ThreadEnd): void => undefined
  const ready = new Promise<void>((resolve, reject) => {
    announceReady = resolve
    announceNeverReady = reject
  })
  // Whoever waits is told; a thread that replaces a dead one has nobody who does.
  ready.catch(() => undefined)
  const ended = new Promise<ThreadEnd>((resolve) => {
    announceEnd = resolve
  })

  function end(why: string): void {
    if (life === 'dead') return
    life = 'dead'
    const error = new DependencyError('inspection', `the worker thread ended: ${why}`)
    const piece = current
    current = undefined
    piece?.stopClock()
    piece?.reject(error)
    announceNeverReady(error)
    announceEnd({ error, wasAtWork: piece !== undefined })
    void worker.terminate()
  }

  worker.on('message', (answer: WorkerAnswer | WorkerReady) => {
    // What was on its way when the worker was ended belongs to a piece that has failed.
    if (life === 'dead') return
    if (answer.kind === 'ready') {
      life = 'ready'
      announceReady()
      return
    }
    const piece = current
    current = undefined
    piece?.stopClock()
    piece?.resolve(answer)
  })
  worker.on('error', (error) => {
    // The code says why (a missing file, no memory); the message could hold a piece of the prompt.
    end(codeOf(error))
  })
  worker.on('exit', () => {
    end('it exited')
  })

  return {
    ready,
    ended,
    state: () => (life === 'ready' ? (current === undefined ? 'idle' : 'at_work') : life),
    work({ source, work }) {
      // A copy of its own: the bytes move to the worker, and Envoy's message holds more than the body.
      const body = new Uint8Array(source.body)
      const request: WorkerRequest = { source: { ...source, body }, work }
      return new Promise((resolve, reject) => {
        const stopClock = after(timeoutMs + GRACE_MS, () => {
          end('it was stuck')
        })
        current = { resolve, reject, stopClock }
        worker.postMessage(request, [body.buffer])
      })
    },
    async stop() {
      end('it was closed')
      await worker.terminate()
    },
  }
}

function codeOf(error: Error): string {
  return 'code' in error && typeof error.code === 'string' ? error.code : error.name
}
