import { watch } from 'node:fs'
import { dirname } from 'node:path'
import { ConfigError } from '../errors.js'
import { generationOf, readText } from './load.js'
import type { Config } from './load.js'
import { changedSettings } from './settings.js'
import type { ServerSettings } from './settings.js'

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
  /** Reads the policy; `loadConfig`, or the same in a worker thread. */
  load(file: string, text: string): Config | Promise<Config>
  /**
   * A new good file. `needRestart` names the settings that differ from the running ones, as `listen.grpc`;
   * in `config` they have their running values. If it throws, the file is refused with that error.
   */
  onConfig(config: Config, needRestart: readonly string[]): void | Promise<void>
  /**
   * The file is refused and the last good policy goes on. Called once per content; a `ConfigError` holds
   * every fault, any other error is a failure of reading or applying it.
   */
  onFault(error: Error): void
  readonly timers?: Timers
  /** Tells of changes in a directory; the answer stops it. May miss some: the poll finds them. */
  readonly watchDirectory?: (directory: string, onChange: () => void) => () => void
}

export interface ConfigWatch {
  /**
   * Reads the file at once (SIGHUP).
   * @returns what came of it; `unchanged` when the content is the one that runs
   */
  reload(): Promise<'loaded' | 'refused' | 'unchanged'>
  close(): void
}

/**
 * A writer that does not replace the file by a rename leaves it half written for a moment, and half a policy
 * may be a valid one with a quota less. So a changed file is read again until two reads this far apart agree.
 */
const settleMs = 200
/** The notice of a change can get lost (network file systems, a link whose target changes elsewhere). */
const pollMs = 1000

/**
 * Follows the policy file: changed in place, replaced by a rename, or swapped by Kubernetes, which turns the
 * link `..data` beside the file to a new directory. What counts is the content, so touching the file does nothing.
 */
export function watchConfig(path: string, options: WatchOptions): ConfigWatch {
  const timers = options.timers ?? systemTimers
  let running = options.running
  /** The content last taken, by its generation, and whether it was good. */
  let current = running.policy.generation
  let currentRuns = true
  let pending: string | undefined
  let cancelTimer = (): void => undefined
  let closed = false
  /** One load at a time, in order: an older file never overtakes a newer one. */
  let queue: Promise<unknown> = Promise.resolve()

  /** The file as it is now; a file that cannot be read is a content of its own, so that it is told once. */
  function look(): { content: string; read: () => string } {
    try {
      const text = readText(path)
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

  async function take(seen: ReturnType<typeof look>): Promise<'loaded' | 'refused'> {
    current = seen.content
    currentRuns = false
    try {
      const loaded = await options.load(path, seen.read())
      const needRestart = changedSettings(running.settings, loaded.settings)
      const next = withSettings(loaded, running.settings)
      if (closed) return 'refused'
      await options.onConfig(next, needRestart)
      running = next
      currentRuns = true
      return 'loaded'
    } catch (error) {
      if (!closed) options.onFault(error instanceof Error ? error : new Error(String(error)))
      return 'refused'
    }
  }

  function schedule(delayMs: number): void {
    cancelTimer()
    if (!closed) cancelTimer = timers.after(delayMs, check)
  }

  /** Runs at every poll and after every notice; takes a content when it stands still for `settleMs`. */
  function check(): void {
    const seen = look()
    if (seen.content === current) {
      pending = undefined
      schedule(pollMs)
    } else if (seen.content === pending) {
      pending = undefined
      queue = queue.then(() => take(seen))
      schedule(pollMs)
    } else {
      pending = seen.content
      schedule(settleMs)
    }
  }

  const stopWatching = (options.watchDirectory ?? watchDirectory)(dirname(path), () => {
    // While a content has to prove that it stands still, notices do not put its second reading off.
    if (pending === undefined) schedule(0)
  })
  schedule(pollMs)

  return {
    reload: () => {
      const result = queue.then(() => {
        const seen = look()
        pending = undefined
        return seen.content === current && currentRuns ? 'unchanged' : take(seen)
      })
      queue = result.catch(() => undefined)
      return result
    },
    close: () => {
      closed = true
      cancelTimer()
      stopWatching()
    },
  }
}

/** The policy of the file with the settings that run: the body cap, which both hold, stays with the settings. */
function withSettings(config: Config, settings: ServerSettings): Config {
  return {
    ...config,
    settings,
    policy: { ...config.policy, maxBodyBytes: settings.limits.maxBodyBytes },
  }
}

/** The directory, not the file: a watch on a file stays with the old one when it is replaced. */
function watchDirectory(directory: string, onChange: () => void): () => void {
  try {
    const watcher = watch(directory, { persistent: false }, onChange)
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
