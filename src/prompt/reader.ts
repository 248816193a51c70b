import { createInlineReader } from './inline.js'
import { createWorkerReader } from './pool.js'
import type { PromptReader, PromptReaderOptions } from './prompt.js'

/** Small bodies inline, large ones in worker threads, behind one face: the event loop is never held for long. */
export function createPromptReader(options: PromptReaderOptions): PromptReader {
  const inline = createInlineReader(options)
  const pool = createWorkerReader(options)
  return {
    open(dialect, path, body, signal) {
      const reader = body.length <= options.inlineBytes ? inline : pool
      return reader.open(dialect, path, body, signal)
    },
    async ready() {
      await Promise.all([inline.ready(), pool.ready()])
    },
    async close() {
      await Promise.all([inline.close(), pool.close()])
    },
  }
}
