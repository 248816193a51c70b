import { statSync } from 'node:fs'
import { lookAtDirectory } from '../config/rate-limits/directory.js'
import { describeRateLimits } from '../config/rate-limits/describe.js'
import { readRateLimitTexts } from '../config/rate-limits/load.js'
import { ConfigError } from '../errors.js'
import { readArguments } from './arguments.js'
import { exitCodes, UsageError } from './command.js'
import type { Command } from './command.js'
import { tellWarnings } from './check-rate-limits.js'

export const ratelimit: Command = {
  name: 'ratelimit',
  summary: "find every fault of rate limit files, which are in envoyproxy/ratelimit's YAML",
  help: `Usage: tollgate ratelimit check [--merge-domains] [--strict] FILE|DIRECTORY...

Reads rate limit files as the service would read them from one directory, and prints their faults by line, each with
key, value and what would be right. Of a directory it reads every file, also in directories below, but for names with
a dot in front. What is wrong with the YAML itself (its syntax) comes first and alone in its file.
What is used, but does not mean what it looks like, as a key twice or in a wrong place, is a warning: it says what holds.
Without a fault it prints how many limits each domain has.

  --merge-domains  several files may be of one domain, as with rateLimitService.mergeDomains
  --strict         warnings fail the step, as faults do

Exit codes:
  0  no fault; there may be warnings, on standard error
  1  faults, or with --strict warnings, on standard error
  2  the command line is wrong`,
  async run(args, terminal) {
    const { values, positionals } = readArguments(args, {
      'merge-domains': { type: 'boolean', default: false },
      strict: { type: 'boolean', default: false },
    })
    const [what, ...operands] = positionals
    if (what !== 'check') {
      throw new UsageError(
        what === undefined ? '"check" is needed' : `unknown argument "${what}"; there is "check"`,
      )
    }
    if (operands.length === 0) throw new UsageError('a FILE or DIRECTORY is needed')
    const files = [...new Set(operands.flatMap(filesOf))]
    const reading = readRateLimitTexts(files, {
      mergeDomains: values['merge-domains'],
      kind: 'any',
    })
    tellWarnings(reading.warnings, terminal)
    if (reading.config === undefined) throw new ConfigError(reading.faults)
    if (values.strict && reading.warnings.length > 0) return exitCodes.failed
    terminal.out('no fault')
    for (const line of describeRateLimits(files, reading.config)) terminal.out(line)
    return exitCodes.ok
  },
}

function filesOf(operand: string): readonly string[] {
  const isDirectory = statSync(operand, { throwIfNoEntry: false })?.isDirectory() ?? false
  if (!isDirectory) return [operand]
  const { files } = lookAtDirectory(operand)
  // Most likely another one was meant, and nobody would notice.
  if (files.length === 0) throw new UsageError(`no file in "${operand}"`)
  return files
}
