import { existsSync } from 'node:fs'
import type { Reading } from '../config/load.js'
import { describeRateLimits } from '../config/rate-limits/describe.js'
import { lookAtDirectory } from '../config/rate-limits/directory.js'
import { readRateLimitTexts } from '../config/rate-limits/load.js'
import { ConfigError, formatWarning } from '../errors.js'
import type { ConfigFault, ConfigWarning } from '../errors.js'
import type { Terminal } from './command.js'

/** The rate limit files of a policy. A directory that is not there is a fault only where it must be: in CI it may lie elsewhere. */
export function checkRateLimits(
  rateLimits: Reading['rateLimits'],
  mustBeThere: boolean,
): {
  readonly faults: readonly ConfigFault[]
  readonly warnings: readonly ConfigWarning[]
  readonly lines: readonly string[]
  readonly notRead: readonly string[]
} {
  const nothing = { faults: [], warnings: [], lines: [], notRead: [] }
  if (rateLimits === undefined) return nothing
  const { configDir, mergeDomains } = rateLimits
  if (!mustBeThere && !existsSync(configDir)) {
    return { ...nothing, notRead: ['rateLimitService.configDir'] }
  }
  try {
    const { files } = lookAtDirectory(configDir)
    const { config, faults, warnings } = readRateLimitTexts(files, { mergeDomains })
    const lines = config === undefined ? [] : describeRateLimits(files, config)
    return { ...nothing, faults, warnings, lines }
  } catch (error) {
    if (error instanceof ConfigError) return { ...nothing, faults: error.faults }
    throw error
  }
}

/** On standard error, as faults are: their word tells them apart. */
export function tellWarnings(warnings: readonly ConfigWarning[], terminal: Terminal): void {
  for (const warning of warnings) terminal.err(`warning: ${formatWarning(warning)}`)
}
