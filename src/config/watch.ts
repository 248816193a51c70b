import { watch } from 'node:fs'
import { basename, dirname } from 'node:path'
import { ConfigError } from '../errors.js'
import { generationOf, loadConfig, readText } from './load.js'
import type { Config } from './load.js'
import { changedSettings } from './settings.js'
import { wholeFileFault } from './faults.js'

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

export interface WatchOptions {
  /** What runs now. */
  readonly running: Config
  /** Reads the policy; `loadConfig` if not given, or the same in a worker thread. */
  readonly load?: (file: string, text: string) => Config | Promise<Config>
  /**
   * A new good file. `needRestart` names the settings that differ from the running ones, as `listen.grpc`.
   * The body cap, which policy and settings both hold, has its running value in the policy. If this throws,
   * the file counts as refused.
   */
  onConfig(config: Config, needRestart: readonly string[]): void | Promise<void>
  /** A bad file, with every fault: the last good policy goes on. Called once per content. */
  onFault(error: ConfigError): void
  /** `reload` was asked for, and the content is the one that runs. */
  onUnchanged?(): void
  readonly timers?: Timers
  /** Tells of changes in a directory; the answer stops it. May miss some: the poll finds them. */
  readonly watchDirectory?: (
    directory: string,
    onChange: (fileName: string | null) => void,
  ) => () => void
}

export interface ConfigWatch {
  /** Reads the file at once, without waiting for it to stand still (SIGHUP). */
  reload(): void
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

/**
 * Follows the policy file: changed in place, replaced by a rename, or swapped by Kubernetes, which turns the
 * link `..data` beside the file to a new directory. What counts is the content, so touching the file does nothing.
 */
export function watchConfig(path: string, options: WatchOptions): ConfigWatch {
  const timers = options.timers ?? systemTimers
  const running = options.running.settings
  const load = options.load ?? loadConfig
  /** The content last taken, by its generation, and whether it was good. */
  let current = options.running.policy.generation
  let currentRuns = true
  let pending: string | undefined
  let noticed = false
  let cancelTimer = (): void => undefined
  let closed = false
  /** One load at a time, in order: an older file never overtakes a newer one. */
  let queue: Promise<void> = Promise.resolve()

  /** The file as it is now; a file that cannot be read is a content of its own, so that it is told once. */
  function look(): { content: string; read: () => string } {
    try {
      const text = readText(path, 'regular')
      return { content: generationOf(text), read: () => text }
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error
      return {
        content: error.message,
        read: () => {
          throw error
        },
      }
    }
  }

  /** Marks the content as taken at once, so that a slow load is not asked for again. */
  function take(seen: ReturnType<typeof look>): void {
    current = seen.content
    currentRuns = false
    queue = queue.then(() => apply(seen))
  }

  async function apply(seen: ReturnType<typeof look>): Promise<void> {
    try {
      const loaded = await load(path, seen.read())
      if (closed) return
      await options.onConfig(
        withBodyCap(loaded, running.limits.maxBodyBytes),
        changedSettings(running, loaded.settings),
      )
      currentRuns = current === seen.content
    } catch (error) {
      if (!closed) options.onFault(asConfigError(path, error))
    }
  }

  function schedule(delayMs: number): void {
    cancelTimer()
    if (!closed) cancelTimer = timers.after(delayMs, check)
  }

  /** Runs at every poll and after every notice; takes a content when it stands still for `settleMs`. */
  function check(): void {
    noticed = false
    const seen = look()
    if (seen.content === current) {
      pending = undefined
      schedule(pollMs)
    } else if (seen.content === pending) {
      pending = undefined
      take(seen)
      schedule(pollMs)
    } else {
      pending = seen.content
      schedule(settleMs)
    }
  }

  /** Other files may live in the directory and change at any rate (an audit log): they cause no reading. */
  function onNotice(fileName: string | null): void {
    const ours = fileName === null || fileName === basename(path) || fileName.startsWith('..')
    // One reading for many notices, and none that puts off the second reading of a new content.
    if (!ours || noticed || pending !== undefined) return
    noticed = true
    schedule(noticeMs)
  }

  const stopWatching = (options.watchDirectory ?? watchDirectory)(dirname(path), onNotice)
  schedule(pollMs)

  return {
    reload: () => {
      if (closed) return
      pending = undefined
      const seen = look()
      // Waits for a load under way, whose outcome says whether this content runs.
      void queue.then(() => {
        if (seen.content === current && currentRuns) options.onUnchanged?.()
        else take(seen)
      })
    },
    close: () => {
      closed = true
      cancelTimer()
      stopWatching()
    },
  }
}

function withBodyCap(config: Config, maxBodyBytes: number): Config {
  return { ...config, policy: { ...config.policy, maxBodyBytes } }
}

/** What failed beside the file itself (a worker, a certificate it names) is refused like a fault of it. */
function asConfigError(path: string, error: unknown): ConfigError {
  if (error instanceof ConfigError) return error
  const reason = error instanceof Error ? error.message : 'unknown error'
  return new ConfigError([wholeFileFault(path, `a policy that can be applied (${reason})`)])
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
