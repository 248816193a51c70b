import { existsSync } from 'node:fs'
import type { Reading } from '../config/load.js'
import { describeRateLimits } from '../config/rate-limits/describe.js'
import { lookAtDirectory } from '../config/rate-limits/directory.js'
import { readRateLimitTexts } from '../config/rate-limits/load.js'
import { ConfigError } from '../errors.js'
import type { ConfigFault } from '../errors.js'

/** The rate limit files of a policy. A directory that is not there is a fault only where it must be: in CI it may lie elsewhere. */
export function checkRateLimits(
  rateLimits: Reading['rateLimits'],
  mustBeThere: boolean,
): {
  readonly faults: readonly ConfigFault[]
  readonly lines: readonly string[]
  readonly notRead: readonly string[]
} {
  if (rateLimits === undefined) return { faults: [], lines: [], notRead: [] }
  const { configDir, mergeDomains } = rateLimits
  if (!mustBeThere && !existsSync(configDir)) {
    return { faults: [], lines: [], notRead: ['rateLimitService.configDir'] }
  }
  try {
    const { files } = lookAtDirectory(configDir)
    const { config, faults } = readRateLimitTexts(files, { mergeDomains })
    const lines = config === undefined ? [] : describeRateLimits(files, config)
    return { faults, lines, notRead: [] }
  } catch (error) {
    if (error instanceof ConfigError) return { faults: error.faults, lines: [], notRead: [] }
    throw error
  }
}
