import { parentPort, workerData } from 'node:worker_threads'
import { answerOf, handOver } from '../load-in-worker.js'
import { loadRateLimits } from './load.js'
import type { FilesSettings } from './load.js'
import { piecesOf } from './pieces.js'

// The thread of `watch.ts`: reads one directory and ends.

const answer = answerOf(() => loadRateLimits(workerData as FilesSettings))
if (parentPort !== null) {
  if ('read' in answer) {
    const { config, ...rest } = answer.read
    await handOver(parentPort, piecesOf(config))
    parentPort.postMessage({ read: rest })
  } else {
    parentPort.postMessage(answer)
  }
}
