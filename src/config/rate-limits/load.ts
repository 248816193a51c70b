import { ConfigError } from '../../errors.js'
import type { ConfigWarning } from '../../errors.js'
import type { RateLimitConfig } from '../../ratelimit/tree.js'
import { firstWarnings } from '../faults.js'
import { readText } from '../load.js'
import type { RateLimitServiceSettings } from '../settings.js'
import { lookAtDirectory } from './directory.js'
import { readRateLimitFiles } from './files.js'
import type { FilesReading } from './files.js'

/** Where the files are, and what they may say together. */
export type FilesSettings = Pick<RateLimitServiceSettings, 'configDir' | 'mergeDomains'>

export interface LoadedRateLimits {
  readonly config: RateLimitConfig
  /** Of all files together as many as else of one. */
  readonly warnings: readonly ConfigWarning[]
  /** What the directory looked like before it was read (`lookAtDirectory`). */
  readonly content: string
}

/** @throws ConfigError the directory cannot be read, or its files have faults: all of them at once */
export function loadRateLimits(settings: FilesSettings): LoadedRateLimits {
  const { files, content } = lookAtDirectory(settings.configDir)
  const { config, faults, warnings } = readRateLimitTexts(files, settings)
  if (config === undefined) throw new ConfigError(faults)
  return { config, warnings: firstWarnings(settings.configDir, warnings), content }
}

export interface ReadOptions extends Pick<FilesSettings, 'mergeDomains'> {
  /** As for `readText`; `regular` if not given. */
  readonly kind?: 'any' | 'regular'
}

/** The files as far as they go; one that cannot be read hides no fault of another. */
export function readRateLimitTexts(files: readonly string[], options: ReadOptions): FilesReading {
  const unread: ConfigError[] = []
  const texts = files.flatMap((file) => {
    try {
      return [{ file, text: readText(file, options.kind ?? 'regular') }]
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error
      unread.push(error)
      return []
    }
  })
  const reading = readRateLimitFiles(texts, options)
  const faults = [...unread.flatMap((error) => error.faults), ...reading.faults]
  return faults.length === 0 ? reading : { ...reading, faults, config: undefined }
}
