import { Worker } from 'node:worker_threads'
import { isDenial } from '../denial.js'
import type { InspectionRules } from '../inspection/rules.js'
import { createInlineReader } from './inline.js'
import type { WorkerSetup } from './messages.js'
import { createPool } from './pool.js'
import type { PromptReader, PromptReaderOptions } from './prompt.js'
import { createThreadedReader } from './threaded.js'

/** Every segment costs each detector a start, whatever is in it: 1.7 µs in all (measured), 3 ms for so many. */
const MAX_INLINE_SEGMENTS = 2000

/** The automaton of an operator's phrases is built where it is used, once for each policy: 3 ms for so many (measured). */
const MAX_INLINE_PHRASE_CHARS = 4000

/** Small bodies inline, large ones in worker threads, behind one face: the event loop is never held for long. */
export function createPromptReader(options: PromptReaderOptions): PromptReader {
  const inline = createInlineReader(options)
  const setup: WorkerSetup = { encodings: options.encodings, timeoutMs: options.timeoutMs }
  const pool = createPool({
    ...options,
    startWorker: () => new Worker(options.workerFile, { workerData: setup }),
    after: (delayMs, run) => {
      const timer = setTimeout(run, delayMs)
      return () => {
        clearTimeout(timer)
      }
    },
  })
  const threaded = createThreadedReader(pool)
  return {
    async open(arrived) {
      if (arrived.body.length > options.inlineBytes) return threaded.open(arrived)
      const prompt = await inline.open(arrived)
      if (isDenial(prompt)) return prompt
      return {
        ...prompt,
        async inspect(rules) {
          const fewSegments = prompt.ask.segmentCount <= MAX_INLINE_SEGMENTS
          if (fewSegments && isLight(rules)) return prompt.inspect(rules)
          return threaded.inspect(arrived, rules)
        },
      }
    },
    async ready() {
      await Promise.all([inline.ready(), pool.ready()])
    },
    async close() {
      await Promise.all([inline.close(), pool.close()])
    },
  }
}

/**
 * Is what the operator prohibits cheap to look for, whatever the text? A regular expression never is: one that the
 * policy may hold takes from 3 to 150 ms for 32 KiB (measured), and a policy may hold many.
 */
function isLight({ prohibited }: InspectionRules): boolean {
  const lists = prohibited.filter((list) => list.action !== 'off')
  if (lists.some((list) => list.patterns.length > 0)) return false
  let chars = 0
  for (const { phrases } of lists) {
    for (const phrase of phrases) {
      chars += phrase.length
      if (chars > MAX_INLINE_PHRASE_CHARS) return false
    }
  }
  return true
}
