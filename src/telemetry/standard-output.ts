import { write, writeSync } from 'node:fs'
import { promisify } from 'node:util'
import { MIB_BYTES } from '../units.js'
import { createLineOutput } from './line-output.js'

/** The end of the operator's log. */
export interface StandardOutput {
  /** Takes a line and returns at once. */
  write(line: string): void
  /** What nobody has taken yet. */
  waitingBytes(): number
  /** Writes what waits, for a bounded time, and lets the rest go. */
  end(): Promise<void>
}

const FD = 1
const MAX_WAITING_BYTES = 4 * MIB_BYTES
const END_MS = 1000

const writeTo = promisify(write)

/**
 * Not a destination of pino: at the end of the process that one waits, without end and holding the event loop up, for
 * a disk that is full and for a pipe that nobody reads (sonic-boom 4.2.1, `flushSync`), and an ENOSPC is an exception
 * that nobody catches. `process.stdout` would hold the event loop up at each line to a file.
 */
export function openStandardOutput(onDropped: () => void): StandardOutput {
  const output = createLineOutput({
    append: async (bytes) => (await writeTo(FD, bytes)).bytesWritten,
    maxWaitingBytes: MAX_WAITING_BYTES,
    onDropped,
    // Not `unref`: at the end of the process nothing else is left to wait for.
    after: (delayMs, run) => {
      const timer = setTimeout(run, delayMs)
      return () => {
        clearTimeout(timer)
      }
    },
  })
  // Where an exception ends the process, the lines before it say why.
  process.on('exit', () => {
    output.writeNow((bytes) => writeSync(FD, bytes))
  })
  return {
    write: (line) => {
      output.write(line)
    },
    waitingBytes: () => output.waitingBytes(),
    end: () => output.end(END_MS),
  }
}
