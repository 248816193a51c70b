import { basename, dirname } from 'node:path'
import { ConfigError } from '../errors.js'
import { generationOf, loadConfig, readText } from './load.js'
import type { Config } from './load.js'
import { changedSettings } from './settings.js'
import { wholeFileFault } from './faults.js'
import { follow } from './follow.js'
import type { Timers, WatchDirectory } from './follow.js'

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
  readonly watchDirectory?: WatchDirectory
}

export interface ConfigWatch {
  /** Reads the file at once, without waiting for it to stand still (SIGHUP). */
  reload(): void
  close(): void
}

/**
 * Follows the policy file: changed in place, replaced by a rename, or swapped by Kubernetes, which turns the
 * link `..data` beside the file to a new directory. What counts is the content, so touching the file does nothing.
 */
export function watchConfig(path: string, options: WatchOptions): ConfigWatch {
  const running = options.running.settings
  const load = options.load ?? loadConfig
  /** The content last taken, by its generation, and whether it was good. */
  let current = options.running.policy.generation
  let currentRuns = true
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

  const follower = follow({
    directory: dirname(path),
    concerns: (fileName) =>
      fileName === null || fileName === basename(path) || fileName.startsWith('..'),
    look,
    current: () => current,
    take,
    timers: options.timers,
    watchDirectory: options.watchDirectory,
  })

  return {
    reload: () => {
      if (closed) return
      follower.forget()
      const seen = look()
      // Waits for a load under way, whose outcome says whether this content runs.
      void queue.then(() => {
        if (seen.content === current && currentRuns) options.onUnchanged?.()
        else take(seen)
      })
    },
    close: () => {
      closed = true
      follower.close()
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
