import { Worker } from 'node:worker_threads'
import { ConfigError } from '../errors.js'
import type { ConfigFault } from '../errors.js'
import type { Config } from './load.js'
import { wholeFileFault } from './faults.js'

/** What the worker is given. */
export interface LoadRequest {
  readonly file: string
  readonly text: string
}

/** What it answers, once: errors lose their class on the way between threads, faults do not. */
export type LoadAnswer = { readonly config: Config } | { readonly faults: readonly ConfigFault[] }

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
  const worker = new Worker(options.workerFile, {
    workerData: request,
    resourceLimits: { maxOldGenerationSizeMb: 512 },
  })
  return new Promise((resolve, reject) => {
    const refuse = (expected: string): void => {
      reject(new ConfigError([wholeFileFault(file, expected)]))
    }
    const timer = setTimeout(() => {
      refuse('a policy that can be read in reasonable time')
      void worker.terminate()
    }, options.timeoutMs ?? 30_000)
    worker.once('message', (answer: LoadAnswer) => {
      if ('config' in answer) resolve(answer.config)
      else reject(new ConfigError(answer.faults))
    })
    worker.once('error', (error) => {
      refuse(`a policy that can be read (${error instanceof Error ? error.message : 'failed'})`)
    })
    worker.once('exit', () => {
      clearTimeout(timer)
      refuse('a policy that can be read (the reading thread ended)')
    })
  })
}
