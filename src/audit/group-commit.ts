import type { Clock } from '../clock.js'
import { DependencyError } from '../errors.js'

/** Runs something later; the answer takes it back. */
export type Schedule = (delayMs: number, run: () => void) => () => void

/** The machine's timer; it does not keep the process alive. */
export const systemSchedule: Schedule = (delayMs, run) => {
  const timer = setTimeout(run, delayMs)
  timer.unref()
  return () => clearTimeout(timer)
}

export interface GroupCommitOptions {
  /** Writes all or none of them; called again only after it has ended. */
  readonly write: (payloads: readonly string[], lostRecords: number) => Promise<void>
  readonly timeoutMs: number
  readonly maxQueueRecords: number
  readonly maxQueueBytes: number
  readonly clock: Clock
  readonly schedule: Schedule
}

/** Many appends, one write: what arrives while a write is under way goes out together in the next. */
export interface GroupCommit {
  /**
   * Resolves when the payload is written.
   *
   * @param payload ASCII, so that its length is its bytes
   * @throws DependencyError the queue is full, the write failed, or it took longer than `timeoutMs`. After a
   *   time-out the write that is under way may still succeed: nothing can take it back.
   */
  append(payload: string): Promise<void>
  /** Calls `write`, also with nothing to write. */
  kick(): void
  /**
   * Refuses further appends, waits for those that were taken, and calls `write` a last time.
   * @throws DependencyError the last write failed
   */
  end(): Promise<void>
}

interface Entry {
  readonly payload: string
  readonly deadlineMs: number
  readonly resolve: () => void
  readonly reject: (error: DependencyError) => void
  settled: boolean
}

/** Keeps one write under a size that a slow disk still takes in time. */
const MAX_BATCH_BYTES = 1_048_576

export function createGroupCommit(options: GroupCommitOptions): GroupCommit {
  const { clock, timeoutMs } = options
  let queue: Entry[] = []
  let queueBytes = 0
  let underWay: readonly Entry[] = []
  let running: Promise<void> | undefined
  let kicked = false
  let lostRecords = 0
  let ended = false
  let watching = false

  function takeBatch(): readonly Entry[] {
    let bytes = 0
    let count = 0
    for (const entry of queue) {
      if (count > 0 && bytes + entry.payload.length > MAX_BATCH_BYTES) break
      bytes += entry.payload.length
      count += 1
    }
    const batch = queue.slice(0, count)
    queue = queue.slice(count)
    queueBytes -= bytes
    return batch
  }

  async function writeBatch(): Promise<void> {
    const batch = takeBatch()
    const lostBefore = lostRecords
    underWay = batch
    try {
      await options.write(
        batch.map((entry) => entry.payload),
        lostBefore,
      )
      lostRecords -= lostBefore
      for (const entry of batch) settle(entry, undefined)
    } catch (error) {
      lostRecords += batch.length
      const failure =
        error instanceof DependencyError
          ? error
          : new DependencyError('audit', 'the audit log failed', { cause: error })
      for (const entry of batch) settle(entry, failure)
    } finally {
      underWay = []
    }
  }

  async function run(): Promise<void> {
    // One turn later, so that appends of the same tick share the first write.
    await Promise.resolve()
    while (queue.length > 0 || kicked) {
      kicked = false
      await writeBatch()
    }
    running = undefined
  }

  function settle(entry: Entry, failure: DependencyError | undefined): void {
    if (entry.settled) return
    entry.settled = true
    if (failure === undefined) entry.resolve()
    else entry.reject(failure)
  }

  /** One timer for all: entries wait in the order of their deadlines. */
  function watch(): void {
    const oldest = underWay.find((entry) => !entry.settled) ?? queue[0]
    if (watching || oldest === undefined) return
    watching = true
    options.schedule(Math.max(1, oldest.deadlineMs - clock.monotonicMs()), () => {
      watching = false
      expire(clock.monotonicMs())
      watch()
    })
  }

  function expire(nowMs: number): void {
    const failure = new DependencyError('audit', `not written within ${String(timeoutMs)} ms`)
    for (const entry of underWay) if (entry.deadlineMs <= nowMs) settle(entry, failure)
    // Those that wait are dropped: an append that was refused must not turn up later, unless it is under way.
    let expired = 0
    for (const entry of queue) {
      if (entry.deadlineMs > nowMs) break
      settle(entry, failure)
      queueBytes -= entry.payload.length
      expired += 1
    }
    lostRecords += expired
    if (expired > 0) queue = queue.slice(expired)
  }

  function start(): void {
    running ??= run()
  }

  return {
    append(payload) {
      if (ended) return Promise.reject(new DependencyError('audit', 'the audit log is closed'))
      const full =
        queue.length >= options.maxQueueRecords ||
        queueBytes + payload.length > options.maxQueueBytes
      if (full) {
        lostRecords += 1
        return Promise.reject(new DependencyError('audit', 'the queue of the audit log is full'))
      }
      return new Promise((resolve, reject) => {
        const deadlineMs = clock.monotonicMs() + timeoutMs
        queue.push({ payload, deadlineMs, resolve, reject, settled: false })
        queueBytes += payload.length
        watch()
        start()
      })
    },
    kick() {
      kicked = true
      start()
    },
    async end() {
      ended = true
      await running
      await options.write([], lostRecords)
    },
  }
}
