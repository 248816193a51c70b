import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import type { MessagePort } from 'node:worker_threads'
import { ConfigError } from '../errors.js'
import type { ConfigFault } from '../errors.js'
import type { Config } from './load.js'
import { wholeFileFault } from './faults.js'

/** What the worker of a policy is given. */
export interface LoadRequest {
  readonly file: string
  readonly text: string
}

/** What a worker answers in the end: errors lose their class on the way between threads, faults do not. */
export type LoadAnswer<Read> = { readonly read: Read } | { readonly faults: readonly ConfigFault[] }

/** What it tells before, of something large. */
interface PieceMessage<Piece> {
  readonly piece: Piece
}

export interface LoadInWorkerOptions {
  /** The built `load-worker.js`. */
  readonly workerFile: URL
  /** Hostile YAML of 1 MiB takes up to 16 s (measured). */
  readonly timeoutMs?: number
}

/**
 * `loadConfig` in a thread of its own, for reloads: 33 KB of policy take 50 to 300 ms, in which the event loop
 * would answer nobody.
 *
 * @throws ConfigError as `loadConfig`, or the file took too long or too much memory
 */
export function loadConfigInWorker(
  file: string,
  text: string,
  options: LoadInWorkerOptions,
): Promise<Config> {
  const request: LoadRequest = { file, text }
  return readInWorker(request, { ...options, file, what: 'a policy' })
}

export interface ReadInWorkerOptions<Piece> extends LoadInWorkerOptions {
  /** What faults of the thread itself name. */
  readonly file: string
  /** As `a policy`. */
  readonly what: string
  /** Takes what the worker hands over before it answers. */
  readonly onPiece?: (piece: Piece) => void
}

/**
 * Starts a thread that reads something and ends.
 *
 * @param request its `workerData`; it answers with `answerOf`
 * @throws ConfigError what is read has faults, or took too long or too much memory
 */
export function readInWorker<Read, Piece = never>(
  request: unknown,
  { workerFile, timeoutMs, file, what, onPiece }: ReadInWorkerOptions<Piece>,
): Promise<Read> {
  const worker = new Worker(workerFile, {
    workerData: request,
    resourceLimits: { maxOldGenerationSizeMb: 512 },
  })
  return new Promise((resolve, reject) => {
    const refuse = (expected: string): void => {
      reject(new ConfigError([wholeFileFault(file, expected)]))
    }
    const timer = setTimeout(() => {
      refuse(`${what} that can be read in reasonable time`)
      void worker.terminate()
    }, timeoutMs ?? 30_000)
    worker.on('message', (answer: LoadAnswer<Read> | PieceMessage<Piece>) => {
      if ('piece' in answer) {
        onPiece?.(answer.piece)
        // A turn later: a piece that came while this message is read would be read with it.
        setImmediate(() => {
          worker.postMessage('taken')
        })
      } else if ('read' in answer) resolve(answer.read)
      else reject(new ConfigError(answer.faults))
    })
    worker.once('error', (error) => {
      refuse(`${what} that can be read (${error instanceof Error ? error.message : 'failed'})`)
    })
    worker.once('exit', () => {
      clearTimeout(timer)
      refuse(`${what} that can be read (the reading thread ended)`)
    })
  })
}

/** In the worker: what was read, or its faults. */
export function answerOf<Read>(read: () => Read): LoadAnswer<Read> {
  try {
    return { read: read() }
  } catch (error) {
    if (error instanceof ConfigError) return { faults: error.faults }
    throw error
  }
}

/**
 * In the worker: each piece once the one before was taken, so that the other thread does something else in between.
 * Messages that wait are all read at one go.
 */
export async function handOver(port: MessagePort, pieces: Iterable<unknown>): Promise<void> {
  for (const piece of pieces) {
    port.postMessage({ piece })
    await once(port, 'message')
  }
}
