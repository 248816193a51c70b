import { watch } from 'node:fs'

/** Timers as an argument, so that a test decides when time passes. */
export interface Timers {
  /** Calls `action` once after `delayMs`; the answer cancels it. Must not keep the process alive. */
  after(delayMs: number, action: () => void): () => void
}

export const systemTimers: Timers = {
  after: (delayMs, action) => {
    const timer = setTimeout(action, delayMs)
    timer.unref()
    return () => {
      clearTimeout(timer)
    }
  },
}

/** Tells of changes in a directory; the answer stops it. May miss some: the poll finds them. */
export type WatchDirectory = (
  directory: string,
  onChange: (fileName: string | null) => void,
) => () => void

export interface FollowOptions<Seen> {
  readonly directory: string
  /** Is a change of this entry of the directory a reason to look? */
  concerns(fileName: string | null): boolean
  /** What stands there now; equal contents are the same to the follower. */
  look(): Seen
  /** What was taken last. */
  current(): string
  /** Takes what has changed and stands still; `current` is its content from then on, good or not. */
  take(seen: Seen): void
  readonly timers?: Timers | undefined
  readonly watchDirectory?: WatchDirectory | undefined
}

export interface Follower {
  /** A change that waits to stand still waits no more. */
  forget(): void
  close(): void
}

/**
 * A writer that does not replace the file by a rename leaves it half written for a moment, and half a policy
 * may be a valid one with a quota less. So a changed file is read again until two reads this far apart agree.
 */
const settleMs = 200
/** A write makes several notices in a row. */
const noticeMs = 20
/** The notice of a change can get lost (network file systems, a link whose target changes elsewhere). */
const pollMs = 1000

/** Follows files by looking at them again and again; a notice of the directory only makes it look sooner. */
export function follow<Seen extends { readonly content: string }>(
  options: FollowOptions<Seen>,
): Follower {
  const timers = options.timers ?? systemTimers
  let pending: string | undefined
  let noticed = false
  let cancelTimer = (): void => undefined
  let closed = false

  function schedule(delayMs: number): void {
    cancelTimer()
    if (!closed) cancelTimer = timers.after(delayMs, check)
  }

  /** Runs at every poll and after every notice; takes a content when it stands still for `settleMs`. */
  function check(): void {
    noticed = false
    const seen = options.look()
    if (seen.content === options.current()) {
      pending = undefined
      schedule(pollMs)
    } else if (seen.content === pending) {
      pending = undefined
      options.take(seen)
      schedule(pollMs)
    } else {
      pending = seen.content
      schedule(settleMs)
    }
  }

  /** Other files may live in the directory and change at any rate (an audit log): they cause no reading. */
  function onNotice(fileName: string | null): void {
    // One reading for many notices, and none that puts off the second reading of a new content.
    if (!options.concerns(fileName) || noticed || pending !== undefined) return
    noticed = true
    schedule(noticeMs)
  }

  const stopWatching = (options.watchDirectory ?? watchDirectory)(options.directory, onNotice)
  schedule(pollMs)

  return {
    forget: () => {
      pending = undefined
    },
    close: () => {
      closed = true
      cancelTimer()
      stopWatching()
    },
  }
}

/** The directory, not the file: a watch on a file stays with the old one when it is replaced. */
function watchDirectory(
  directory: string,
  onChange: (fileName: string | null) => void,
): () => void {
  try {
    const watcher = watch(directory, { persistent: false }, (_, fileName) => {
      onChange(fileName)
    })
    // It ends when the directory is removed, for instance; the poll goes on.
    watcher.on('error', () => {
      watcher.close()
    })
    return () => {
      watcher.close()
    }
  } catch {
    // No watches left (inotify limits) or no such directory: the poll alone.
    return () => undefined
  }
}
