import { setImmediate as nextTurn } from 'node:timers/promises'
import { isDenial } from '../denial.js'
import { createTokenCounter } from '../llm/tokens.js'
import { KIB_BYTES } from '../units.js'
import type { PromptReader, PromptReaderOptions } from './prompt.js'
import { createInspectors, readPrompt } from './text.js'

/** From here on each of the three kinds of work has a turn of the event loop to itself. */
const YIELD_BYTES = 8 * KIB_BYTES

/** Random bytes take 1 ms per KiB to count: after this long the event loop has its turn in between. */
const SLICE_MS = 4

/** Works on the body where it arrived: for small ones the way to a worker costs more than the work. */
export function createInlineReader(
  options: Pick<PromptReaderOptions, 'encodings' | 'timeoutMs' | 'clock'>,
): PromptReader {
  const counter = createTokenCounter()
  counter.load(options.encodings)
  const inspectorFor = createInspectors()
  const bound = () => ({
    nowMs: () => options.clock.monotonicMs(),
    deadlineMs: options.clock.monotonicMs() + options.timeoutMs,
  })

  return {
    async open({ dialect, path, body }) {
      const turn = body.length > YIELD_BYTES ? nextTurn : undefined
      const text = readPrompt(dialect, path, body)
      if (isDenial(text)) return text
      return {
        ask: text.summary,
        async inspect(rules) {
          await turn?.()
          return text.inspect(inspectorFor(rules), bound())
        },
        async countTokens(encoding) {
          await turn?.()
          const counting = text.startCount(counter, encoding)
          const { nowMs, deadlineMs } = bound()
          while (!counting.run({ nowMs, deadlineMs: Math.min(deadlineMs, nowMs() + SLICE_MS) })) {
            if (nowMs() >= deadlineMs) break
            await nextTurn()
          }
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
