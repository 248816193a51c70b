import type { Clock } from '../../clock.js'
import { systemClock } from '../../clock.js'
import { ConfigError } from '../../errors.js'
import type { ConfigWarning } from '../../errors.js'
import type { RateLimitConfig } from '../../ratelimit/tree.js'
import { wholeFileFault } from '../faults.js'
import { follow } from '../follow.js'
import type { Timers, WatchDirectory } from '../follow.js'
import { readInWorker } from '../load-in-worker.js'
import { lookAtDirectory } from './directory.js'
import { loadRateLimits } from './load.js'
import type { FilesSettings, LoadedRateLimits } from './load.js'
import { growConfig } from './pieces.js'
import type { Piece } from './pieces.js'

export interface RateLimitWatchOptions {
  /** What runs now. */
  readonly running: LoadedRateLimits
  /** Reads the directory; `loadRateLimits` if not given, or the same in a worker thread. */
  readonly load?: (settings: FilesSettings) => LoadedRateLimits | Promise<LoadedRateLimits>
  /** The files have changed, and all of them are good. */
  onConfig(config: RateLimitConfig, warnings: readonly ConfigWarning[]): void
  /** They have changed, and have faults: the last good ones go on, all of them. Called once per change. */
  onFault(error: ConfigError): void
  /** `reload` found what is known already. */
  onUnchanged?(): void
  /** They have changed for `restlessMs`, and never stood still to be read. Called once, until they are. */
  onRestless?(): void
  readonly clock?: Pick<Clock, 'monotonicMs'>
  readonly timers?: Timers
  readonly watchDirectory?: WatchDirectory
}

/** So long nobody is told that changed files are not loaded: two looks and a load take a second or two. */
const restlessMs = 10_000

export interface RateLimitWatch {
  /** Looks at once, without waiting for the files to stand still (SIGHUP). */
  reload(): void
  close(): void
}

/**
 * Follows a directory of rate limit files: written in place, added, removed, or swapped by Kubernetes, which turns the
 * link `..data` in it to a new directory. Files below are found by looking, within a second.
 */
export function watchRateLimits(
  settings: FilesSettings,
  options: RateLimitWatchOptions,
): RateLimitWatch {
  const { configDir } = settings
  const { load = loadRateLimits, clock = systemClock } = options
  let current = options.running.content
  /** What was told last, good or not, and since when something else stands there. */
  let told = current
  let restlessSinceMs: number | undefined
  let isRestlessTold = false
  /** What was told last is refused. */
  let isRefused = false
  let closed = false
  /** One load at a time, in order. */
  let queue: Promise<void> = Promise.resolve()

  /** A directory that cannot be read is a content of its own, so that it is told once. */
  function look(): { readonly content: string } {
    try {
      return { content: lookAtDirectory(configDir).content }
    } catch (error) {
      return { content: asConfigError(configDir, error).message }
    }
  }

  function lookAgain(): { readonly content: string } {
    const seen = look()
    if (seen.content === told) restlessSinceMs = undefined
    else restlessSinceMs ??= clock.monotonicMs()
    if (restlessSinceMs !== undefined && !isRestlessTold) {
      isRestlessTold = clock.monotonicMs() - restlessSinceMs >= restlessMs
      if (isRestlessTold) options.onRestless?.()
    }
    return seen
  }

  function take({ content }: { readonly content: string }): void {
    current = content
    queue = queue.then(() => apply(content))
  }

  async function apply(content: string): Promise<void> {
    const tell = await read()
    // Files of two moments may not fit together: what changed meanwhile is seen by the next look, and read whole.
    if (closed || look().content !== content) return
    told = content
    restlessSinceMs = undefined
    isRestlessTold = false
    tell()
  }

  /** Reads, and answers with what to tell of it. */
  async function read(): Promise<() => void> {
    try {
      const { config, warnings } = await load(settings)
      return () => {
        isRefused = false
        options.onConfig(config, warnings)
      }
    } catch (error) {
      return () => {
        isRefused = true
        options.onFault(asConfigError(configDir, error))
      }
    }
  }

  const follower = follow({
    directory: configDir,
    concerns: () => true,
    look: lookAgain,
    current: () => current,
    take,
    timers: options.timers,
    watchDirectory: options.watchDirectory,
  })

  return {
    reload: () => {
      follower.forget()
      const seen = look()
      // Whoever asks wants to know what is wrong with them.
      if (seen.content === current && !isRefused) options.onUnchanged?.()
      else take(seen)
    },
    close: () => {
      closed = true
      follower.close()
    },
  }
}

/** `loadRateLimits` in a thread of its own, and from there in pieces: a large directory would hold the event loop up. */
export async function loadRateLimitsInWorker(
  settings: FilesSettings,
  workerFile: URL,
): Promise<LoadedRateLimits> {
  const { configDir, mergeDomains } = settings
  const request: FilesSettings = { configDir, mergeDomains }
  const growing = growConfig()
  const rest = await readInWorker<Omit<LoadedRateLimits, 'config'>, Piece>(request, {
    workerFile,
    file: configDir,
    what: 'rate limit files',
    onPiece: (piece) => {
      growing.add(piece)
    },
  })
  return { config: growing.config, ...rest }
}

function asConfigError(configDir: string, error: unknown): ConfigError {
  if (error instanceof ConfigError) return error
  const reason = error instanceof Error ? error.message : 'unknown error'
  return new ConfigError([
    wholeFileFault(configDir, `rate limit files that can be read (${reason})`),
  ])
}
