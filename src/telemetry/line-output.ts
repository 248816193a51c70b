export interface LineOutputOptions {
  /** Hands on some of the bytes. @returns how many were taken; rejects when none can be now */
  readonly append: (bytes: Uint8Array) => Promise<number>
  /** Of what waits beyond this, new lines are dropped. */
  readonly maxWaitingBytes: number
  readonly onDropped: () => void
  /** Runs something later; the answer takes it back. */
  readonly after: (delayMs: number, run: () => void) => () => void
}

/** Lines to a place that may be full, or not read: none is waited for, and none holds the end of the process up. */
export interface LineOutput {
  /** Never throws. The line ends with a line feed. */
  write(line: string): void
  waitingBytes(): number
  /** Waits until all is written, `limitMs` at most; what waits then is let go, and later lines are dropped. */
  end(limitMs: number): Promise<void>
  /** A last try for a process that ends at once, with a function that throws when nothing is taken. */
  writeNow(appendSync: (bytes: Uint8Array) => number): void
}

/** As much as a pipe takes in few turns; container runtimes read in pieces of this size. */
const CHUNK_BYTES = 16_384
/**
 * A reader that is merely slow has made room soon: after 100 ms each time, a pipe of 64 KiB would carry less than a
 * megabyte a second once it has been full. One that reads nothing is asked less and less often.
 */
const FIRST_RETRY_MS = 2
const MAX_RETRY_MS = 100

export function createLineOutput(options: LineOutputOptions): LineOutput {
  /** Whole lines, joined: many short ones cost one write. */
  let chunks: { text: string; bytes: number }[] = []
  /** Of the chunk that was begun. A full disk may take half a line, and the other half has to come next. */
  let rest: Buffer = Buffer.alloc(0)
  let waitingBytes = 0
  let running: Promise<void> | undefined
  /** Since the last one that took something. */
  let refusals = 0
  let isLetGo = false
  let endPause = (): void => undefined

  function pause(): Promise<void> {
    const delayMs = Math.min(MAX_RETRY_MS, FIRST_RETRY_MS * 2 ** (refusals - 1))
    return new Promise((resolve) => {
      const cancel = options.after(delayMs, resolve)
      endPause = () => {
        cancel()
        resolve()
      }
    })
  }

  async function run(): Promise<void> {
    while (waitingBytes > 0) {
      if (rest.length === 0) rest = Buffer.from(chunks.shift()?.text ?? '')
      // Every failure may pass: ENOSPC, EAGAIN of a pipe that is full, even EPIPE of one that has a name.
      const taken = await options.append(rest).catch(() => 0)
      if (isLetGo) return
      rest = rest.subarray(taken)
      waitingBytes -= taken
      refusals = taken === 0 ? refusals + 1 : 0
      if (refusals > 0) await pause()
    }
    running = undefined
  }

  function letGo(): void {
    isLetGo = true
    chunks = []
    waitingBytes = 0
    endPause()
  }

  return {
    write(line) {
      const bytes = Buffer.byteLength(line)
      if (isLetGo || waitingBytes + bytes > options.maxWaitingBytes) {
        options.onDropped()
        return
      }
      const last = chunks.at(-1)
      if (last === undefined || last.bytes + bytes > CHUNK_BYTES) chunks.push({ text: line, bytes })
      else {
        last.text += line
        last.bytes += bytes
      }
      waitingBytes += bytes
      running ??= run()
    },
    waitingBytes: () => waitingBytes,
    async end(limitMs) {
      let cancel = (): void => undefined
      const over = new Promise<void>((resolve) => (cancel = options.after(limitMs, resolve)))
      await Promise.race([running, over])
      cancel()
      letGo()
    },
    writeNow(appendSync) {
      if (refusals > 0) return
      // Without the rest: a write that is under way has it.
      let bytes: Uint8Array = Buffer.from(chunks.map(({ text }) => text).join(''))
      try {
        while (bytes.length > 0) bytes = bytes.subarray(appendSync(bytes))
      } catch {
        // Nobody is left to tell.
      }
    },
  }
}
