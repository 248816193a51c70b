import { parentPort, workerData } from 'node:worker_threads'
import { answerOf } from './load-in-worker.js'
import type { LoadRequest } from './load-in-worker.js'
import { loadConfig } from './load.js'

// The thread of `load-in-worker.ts`: reads one policy and ends.

const { file, text } = workerData as LoadRequest
parentPort?.postMessage(answerOf(() => loadConfig(file, text)))
