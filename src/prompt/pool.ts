import { Worker } from 'node:worker_threads'
import { AbandonedError, DependencyError } from '../errors.js'
import type { InspectionRules } from '../inspection/rules.js'
import type { WorkerAnswer, WorkerReady, WorkerRequest, WorkerSetup } from './messages.js'
import type { OpenPrompt, PromptReader, PromptReaderOptions } from './prompt.js'

/** How long after its bound a worker may still finish a count before it is taken for stuck. */
const GRACE_MS = 500

interface Job {
  readonly request: WorkerRequest
  readonly signal: AbortSignal | undefined
  resolve(answer: WorkerAnswer): void
  reject(error: Error): void
  timer: NodeJS.Timeout | undefined
}

/** One worker thread with its own queue: what it has opened stays in it. */
interface Lane {
  readonly openPrompts: Set<number>
  run(request: WorkerRequest, signal?: AbortSignal): Promise<WorkerAnswer>
  closePrompt(prompt: number): void
  /** Resolves when the worker takes work; rejects when it ended before. */
  readonly ready: Promise<void>
  /** Set when the worker is gone: its prompts are lost, the lane is replaced. */
  readonly dead: () => boolean
  stop(): Promise<void>
}

/** Works on large bodies in worker threads, one piece of work per thread at a time, each within a time bound. */
export function createWorkerReader(options: PromptReaderOptions): PromptReader {
  const lanes: Lane[] = []
  const rulesIds = new WeakMap<InspectionRules, number>()
  let nextRulesId = 1
  let nextPrompt = 1
  let openBytes = 0
  let closed = false

  for (let index = 0; index < options.workers; index += 1) lanes.push(createLane(options))

  function rulesIdOf(rules: InspectionRules): number {
    let id = rulesIds.get(rules)
    if (id === undefined) {
      id = nextRulesId++
      rulesIds.set(rules, id)
    }
    return id
  }

  /** The lane with the fewest open prompts; a lane whose worker died is replaced on the way. */
  function idlestLane(): Lane {
    lanes.forEach((lane, index) => {
      if (lane.dead()) lanes[index] = createLane(options)
    })
    const lane = lanes.reduce((best, candidate) =>
      candidate.openPrompts.size < best.openPrompts.size ? candidate : best,
    )
    return lane
  }

  return {
    async open(dialect, path, body, signal) {
      if (closed) throw new DependencyError('inspection', 'the prompt reader is closed')
      if (openBytes + body.length > options.maxOpenBytes) {
        throw new DependencyError('inspection', 'too many large prompts at once')
      }
      const lane = idlestLane()
      const prompt = nextPrompt++
      // Its own copy: the bytes move to the worker, and Envoy's message holds more than the body.
      const copy = new Uint8Array(body)
      openBytes += body.length
      lane.openPrompts.add(prompt)
      let released = false
      const close = (): void => {
        if (released) return
        released = true
        openBytes -= body.length
        lane.closePrompt(prompt)
      }

      let opened: WorkerAnswer
      try {
        opened = await lane.run(
          { kind: 'open', prompt, dialect: dialect.name, path, body: copy },
          signal,
        )
      } catch (error) {
        close()
        throw error
      }
      if (opened.kind === 'refused') {
        close()
        return opened.denial
      }
      if (opened.kind !== 'opened') {
        close()
        throw unexpected('read', opened)
      }

      const { summary } = opened
      const open: OpenPrompt = {
        ask: summary,
        async inspect(rules) {
          const rulesId = rulesIdOf(rules)
          const answer = await lane.run({ kind: 'inspect', prompt, rulesId, rules }, signal)
          if (answer.kind !== 'inspected') throw unexpected('inspection', answer)
          return answer.findings
        },
        async countTokens(encoding) {
          try {
            const answer = await lane.run({ kind: 'count', prompt, encoding }, signal)
            // Every token covers at least one byte of the text, so the bytes are an upper bound.
            return answer.kind === 'counted' ? answer.tokens : summary.segmentBytes
          } catch (error) {
            if (error instanceof DependencyError) return summary.segmentBytes
            throw error
          }
        },
        close,
      }
      return open
    },
    async ready() {
      await Promise.all(lanes.map((lane) => lane.ready))
    },
    async close() {
      closed = true
      await Promise.all(lanes.map((lane) => lane.stop()))
    },
  }
}

function unexpected(work: string, answer: WorkerAnswer): DependencyError {
  const what = answer.kind === 'failed' ? answer.errorName : answer.kind
  return new DependencyError('inspection', `${work} of a large prompt failed: ${what}`)
}

function createLane(options: PromptReaderOptions): Lane {
  const setup: WorkerSetup = { encodings: options.encodings, timeoutMs: options.timeoutMs }
  const worker = new Worker(options.workerFile, { workerData: setup })
  const openPrompts = new Set<number>()
  const queue: Job[] = []
  let current: Job | undefined
  let ready = false
  /** Why the worker is gone; undefined while it lives. */
  let end: DependencyError | undefined
  let announceReady = (): void => undefined
  let announceEnd = (_error: DependencyError): void => undefined
  const whenReady = new Promise<void>((resolve, reject) => {
    announceReady = resolve
    announceEnd = reject
  })
  // Whoever waits is told; a lane that replaces a dead one has nobody who does.
  whenReady.catch(() => undefined)

  function startNext(): void {
    // Until the encodings are loaded a job waits in the queue, where running out of time is not the worker's fault.
    while (ready && current === undefined) {
      const job = queue.shift()
      if (job === undefined) return
      if (job.signal?.aborted === true) {
        finish(job)
        job.reject(new AbandonedError('given up while a large prompt waited'))
        continue
      }
      current = job
      const transfer = job.request.kind === 'open' ? [job.request.body.buffer as ArrayBuffer] : []
      worker.postMessage(job.request, transfer)
    }
  }

  function finish(job: Job): void {
    clearTimeout(job.timer)
    job.timer = undefined
  }

  /** In the queue: it waited too long. Under way: the worker is stuck, and is ended with all it holds. */
  function expire(job: Job): void {
    const waiting = queue.indexOf(job)
    if (waiting !== -1) queue.splice(waiting, 1)
    else die('it was stuck')
    job.reject(
      new DependencyError('inspection', `${job.request.kind} of a large prompt took too long`),
    )
  }

  function die(why: string): void {
    if (end !== undefined) return
    end = new DependencyError('inspection', `the worker thread ended: ${why}`)
    announceEnd(end)
    for (const job of [current, ...queue]) {
      if (job === undefined) continue
      finish(job)
      job.reject(end)
    }
    current = undefined
    queue.length = 0
    void worker.terminate()
  }

  worker.on('message', (answer: WorkerAnswer | WorkerReady) => {
    if (answer.kind === 'ready') {
      ready = true
      announceReady()
      startNext()
      return
    }
    const job = current
    current = undefined
    if (job !== undefined) {
      finish(job)
      job.resolve(answer)
    }
    startNext()
  })
  worker.on('error', (error) => {
    // The code says why (a missing file, no memory); the message could hold a piece of the prompt.
    die(codeOf(error))
  })
  worker.on('exit', () => {
    die('it exited')
  })

  return {
    openPrompts,
    ready: whenReady,
    dead: () => end !== undefined,
    run(request, signal) {
      if (end !== undefined) return Promise.reject(end)
      return new Promise((resolve, reject) => {
        const job: Job = { request, signal, resolve, reject, timer: undefined }
        job.timer = setTimeout(() => {
          expire(job)
        }, options.timeoutMs + GRACE_MS)
        queue.push(job)
        startNext()
      })
    },
    closePrompt(prompt) {
      openPrompts.delete(prompt)
      if (end === undefined) worker.postMessage({ kind: 'close', prompt } satisfies WorkerRequest)
    },
    async stop() {
      die('it was closed')
      await worker.terminate()
    },
  }
}

function codeOf(error: Error): string {
  return 'code' in error && typeof error.code === 'string' ? error.code : error.name
}
