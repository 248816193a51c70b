import { parentPort, workerData } from 'node:worker_threads'
import { isDenial } from '../denial.js'
import type { Inspector } from '../inspection/inspect.js'
import { compileInspection } from '../inspection/inspect.js'
import { dialectNamed } from '../llm/dialects.js'
import { createTokenCounter } from '../llm/tokens.js'
import type { WorkerAnswer, WorkerReady, WorkerRequest, WorkerSetup } from './messages.js'
import { readPrompt } from './text.js'
import type { PromptText } from './text.js'

// A worker thread: one request at a time, in the order in which they come.

/** Generations of the policy whose compiled rules are kept. */
const MAX_INSPECTORS = 4

const { encodings, timeoutMs } = workerData as WorkerSetup
const counter = createTokenCounter()
counter.load(encodings)
const prompts = new Map<number, PromptText>()
const inspectors = new Map<number, Inspector>()

const bound = () => ({ nowMs: () => performance.now(), deadlineMs: performance.now() + timeoutMs })

function promptNamed(id: number): PromptText {
  const prompt = prompts.get(id)
  if (prompt === undefined) throw new Error('no such prompt')
  return prompt
}

function answer(request: Exclude<WorkerRequest, { kind: 'close' }>): WorkerAnswer {
  switch (request.kind) {
    case 'open': {
      const text = readPrompt(dialectNamed(request.dialect), request.path, request.body)
      if (isDenial(text)) return { kind: 'refused', denial: text }
      prompts.set(request.prompt, text)
      return { kind: 'opened', summary: text.summary }
    }
    case 'inspect': {
      let inspector = inspectors.get(request.rulesId)
      if (inspector === undefined) {
        inspector = compileInspection(request.rules)
        if (inspectors.size >= MAX_INSPECTORS) inspectors.clear()
        inspectors.set(request.rulesId, inspector)
      }
      return {
        kind: 'inspected',
        findings: promptNamed(request.prompt).inspect(inspector, bound()),
      }
    }
    case 'count': {
      const counting = promptNamed(request.prompt).startCount(counter, request.encoding)
      counting.run(bound())
      return { kind: 'counted', tokens: counting.atMost() }
    }
  }
}

function answerOrFailure(request: Exclude<WorkerRequest, { kind: 'close' }>): WorkerAnswer {
  try {
    return answer(request)
  } catch (error) {
    // The text of an error could hold a piece of the prompt; its class cannot (invariant 6).
    return { kind: 'failed', errorName: error instanceof Error ? error.name : 'unknown' }
  }
}

parentPort?.on('message', (request: WorkerRequest) => {
  if (request.kind === 'close') {
    prompts.delete(request.prompt)
    return
  }
  parentPort?.postMessage(answerOrFailure(request))
})

parentPort?.postMessage({ kind: 'ready' } satisfies WorkerReady)
