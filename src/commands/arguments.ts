import { parseArgs } from 'node:util'
import type { ParseArgsConfig } from 'node:util'
import { UsageError } from './command.js'

type Options = NonNullable<ParseArgsConfig['options']>

/**
 * Reads options and operands strictly: an unknown option is refused.
 *
 * @throws UsageError with a message that names the argument
 */
export function readArguments<const O extends Options>(args: readonly string[], options: O) {
  const once = Object.keys(options).filter((name) => options[name]?.multiple !== true)
  try {
    const read = parseArgs({
      args: [...args],
      options,
      allowPositionals: true,
      strict: true,
      tokens: true,
    })
    const given = read.tokens.flatMap((token) => (token.kind === 'option' ? [token.name] : []))
    const repeated = once.find((name) => given.filter((one) => one === name).length > 1)
    // Node would take the last one, silently.
    if (repeated !== undefined) throw new UsageError(`--${repeated} is given more than once`)
    return read
  } catch (error) {
    if (error instanceof UsageError) throw error
    // Node's sentence goes on with advice about `--`; its first part says what is wrong.
    const message = error instanceof Error ? error.message : 'arguments not understood'
    throw new UsageError(message.split('. ')[0] ?? message)
  }
}

/** @throws UsageError the option was not given */
export function required(value: string | undefined, option: string): string {
  if (value === undefined || value === '') throw new UsageError(`${option} is needed`)
  return value
}

/** @throws UsageError there are operands */
export function noOperands(operands: readonly string[]): void {
  if (operands[0] !== undefined) throw new UsageError(`unexpected argument "${operands[0]}"`)
}
