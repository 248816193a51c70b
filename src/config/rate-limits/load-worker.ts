import { parentPort, workerData } from 'node:worker_threads'
import { answerOf } from '../load-in-worker.js'
import { loadRateLimits } from './load.js'
import type { FilesSettings } from './load.js'

// The thread of `watch.ts`: reads one directory and ends.

parentPort?.postMessage(answerOf(() => loadRateLimits(workerData as FilesSettings)))
