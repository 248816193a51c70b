import { readFileSync } from 'node:fs'
import { unreadable } from '../config/load.js'
import { ConfigError } from '../errors.js'
import { check } from './check.js'
import { exitCodes, UsageError } from './command.js'
import type { Command, Terminal } from './command.js'
import { inspect } from './inspect.js'
import { key } from './key.js'
import { ratelimit } from './ratelimit.js'
import { serve } from './serve.js'
import { verifyAuditFile } from './verify-audit.js'

/** A new command is one file beside this one and one line here. */
const commands: readonly Command[] = [serve, check, inspect, verifyAuditFile, ratelimit, key]

/** Runs one command line, without the program's own name; answers with the exit code. */
export async function dispatch(args: readonly string[], terminal: Terminal): Promise<number> {
  const [name, ...rest] = args
  if (name === '--version') {
    terminal.out(version())
    return exitCodes.ok
  }
  if (name === undefined || name === '--help' || name === '-h' || name === 'help') {
    const asked = commands.find((command) => command.name === rest[0])
    const help = asked?.help ?? overview()
    if (name === undefined) terminal.err(help)
    else terminal.out(help)
    return name === undefined ? exitCodes.usage : exitCodes.ok
  }
  const command = commands.find((candidate) => candidate.name === name)
  if (command === undefined) {
    const known = commands.map((candidate) => candidate.name).join(', ')
    terminal.err(`tollgate: unknown command "${name}"; the commands are ${known}`)
    return exitCodes.usage
  }
  if (rest.includes('--help') || rest.includes('-h')) {
    terminal.out(command.help)
    return exitCodes.ok
  }
  try {
    return await command.run(rest, terminal)
  } catch (error) {
    if (error instanceof UsageError) {
      terminal.err(`tollgate ${command.name}: ${error.message}`)
      terminal.err(`Try "tollgate ${command.name} --help".`)
      return exitCodes.usage
    }
    const fault = asConfigError(error)
    if (fault !== undefined) {
      terminal.err(fault.message)
      return exitCodes.failed
    }
    terminal.err(
      `tollgate ${command.name}: ${error instanceof Error ? error.message : 'unknown failure'}`,
    )
    return exitCodes.failed
  }
}

/** A file that an operand names and that cannot be read is said as one that an option names. */
function asConfigError(error: unknown): ConfigError | undefined {
  if (error instanceof ConfigError) return error
  const path = error instanceof Error && 'path' in error ? error.path : undefined
  return typeof path === 'string' ? unreadable(path, error) : undefined
}

/** The release, as `package.json` beside the program says. */
function version(): string {
  const file = new URL('../../package.json', import.meta.url)
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version
}

function overview(): string {
  const width = Math.max(...commands.map((command) => command.name.length))
  return [
    'Usage: tollgate COMMAND [OPTIONS]',
    '',
    'An Envoy sidecar that decides who may call a GPU model, how many tokens they may spend, and what',
    'their prompts may say.',
    '',
    'Commands:',
    ...commands.map((command) => `  ${command.name.padEnd(width)}  ${command.summary}`),
    '',
    '"tollgate COMMAND --help" says more about each, "tollgate --version" which release this is.',
  ].join('\n')
}
