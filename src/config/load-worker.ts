import { parentPort, workerData } from 'node:worker_threads'
import { ConfigError } from '../errors.js'
import type { LoadAnswer, LoadRequest } from './load-in-worker.js'
import { loadConfig } from './load.js'

// The thread of `load-in-worker.ts`: reads one policy and ends.

function answer({ file, text }: LoadRequest): LoadAnswer {
  try {
    return { config: loadConfig(file, text) }
  } catch (error) {
    if (error instanceof ConfigError) return { faults: error.faults }
    throw error
  }
}

parentPort?.postMessage(answer(workerData as LoadRequest))
