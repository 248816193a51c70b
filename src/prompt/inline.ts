import { isDenial } from '../denial.js'
import { inspectionTooSlow } from '../inspection/inspect.js'
import { createTokenCounter } from '../llm/tokens.js'
import { KIB_BYTES } from '../units.js'
import type { PromptReader, PromptReaderOptions } from './prompt.js'
import { createInspectors, readPrompt } from './text.js'
import type { TimeBound } from './text.js'

/** From here on each of the three kinds of work has a turn of the event loop to itself. */
const YIELD_BYTES = 8 * KIB_BYTES

/**
 * Random bytes take 1 ms per KiB to count, and a text with escapes and parts is inspected up to six times: after this
 * long the event loop has its turn in between.
 */
const SLICE_MS = 4

/** Works on the body where it arrived: for small ones the way to a worker costs more than the work. */
export function createInlineReader(
  options: Pick<PromptReaderOptions, 'encodings' | 'timeoutMs' | 'clock'>,
): PromptReader {
  const counter = createTokenCounter()
  counter.load(options.encodings)
  const inspectorFor = createInspectors()
  const waiting: (() => void)[] = []

  /** One piece of work has it, in order: all that wait would have the next one otherwise. */
  function nextTurn(): Promise<void> {
    return new Promise((resolve) => {
      if (waiting.push(resolve) === 1) setImmediate(release)
    })
  }

  function release(): void {
    waiting.shift()?.()
    if (waiting.length > 0) setImmediate(release)
  }

  /** Works in slices, with turns of the event loop between them; false when the time for all of them is over. */
  async function inSlices(run: (slice: TimeBound) => boolean): Promise<boolean> {
    const nowMs = (): number => options.clock.monotonicMs()
    const deadlineMs = nowMs() + options.timeoutMs
    while (!run({ nowMs, deadlineMs: Math.min(deadlineMs, nowMs() + SLICE_MS) })) {
      if (nowMs() >= deadlineMs) return false
      await nextTurn()
    }
    return true
  }

  return {
    async open({ dialect, path, body }) {
      const turn = body.length > YIELD_BYTES ? nextTurn : undefined
      const text = readPrompt(dialect, path, body)
      if (isDenial(text)) return text
      return {
        ask: text.summary,
        async inspect(rules) {
          await turn?.()
          const inspecting = text.startInspection(inspectorFor(rules))
          if (await inSlices((slice) => inspecting.run(slice))) return inspecting.outcome()
          throw inspectionTooSlow()
        },
        async countTokens(encoding) {
          await turn?.()
          const counting = text.startCount(counter, encoding)
          await inSlices((slice) => counting.run(slice))
          return counting.atMost()
        },
        close() {
          // The text is garbage as soon as the decision lets go of it.
        },
      }
    },
    async ready() {
      // Loaded above.
    },
    async close() {
      counter.free()
    },
  }
}
