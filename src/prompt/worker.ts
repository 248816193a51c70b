import { parentPort, workerData } from 'node:worker_threads'
import { isDenial } from '../denial.js'
import { compileInspection } from '../inspection/inspect.js'
import { dialectNamed } from '../llm/dialects.js'
import { createTokenCounter } from '../llm/tokens.js'
import { keepLatest } from './latest.js'
import type { WorkerAnswer, WorkerReady, WorkerRequest, WorkerSetup } from './messages.js'
import { readPrompt } from './text.js'

// A worker thread: one piece of work at a time, and no prompt is kept when it is done.

/** Generations of the policy whose compiled rules are kept. */
const MAX_INSPECTORS = 4

const { encodings, timeoutMs } = workerData as WorkerSetup
const counter = createTokenCounter()
counter.load(encodings)
const inspectorFor = keepLatest(MAX_INSPECTORS, compileInspection)

const bound = () => ({ nowMs: () => performance.now(), deadlineMs: performance.now() + timeoutMs })

function answer({ source, work }: WorkerRequest): WorkerAnswer {
  const text = readPrompt(dialectNamed(source.dialect), source.path, source.body)
  if (isDenial(text)) return { kind: 'refused', denial: text }
  switch (work.kind) {
    case 'read':
      return { kind: 'read', summary: text.summary }
    case 'inspect': {
      const inspector = inspectorFor(work.rulesId, work.rules)
      const findings = text.inspect(inspector, bound())
      if (isDenial(findings)) return { kind: 'refused', denial: findings }
      return { kind: 'inspected', findings }
    }
    case 'count': {
      const counting = text.startCount(counter, work.encoding)
      counting.run(bound())
      return { kind: 'counted', tokens: counting.atMost() }
    }
  }
}

function answerOrFailure(request: WorkerRequest): WorkerAnswer {
  try {
    return answer(request)
  } catch (error) {
    // The text of an error could hold a piece of the prompt; its class cannot (invariant 6).
    return { kind: 'failed', errorName: error instanceof Error ? error.name : 'unknown' }
  }
}

parentPort?.on('message', (request: WorkerRequest) => {
  parentPort?.postMessage(answerOrFailure(request))
})

parentPort?.postMessage({ kind: 'ready' } satisfies WorkerReady)
