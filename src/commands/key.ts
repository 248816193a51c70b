import { randomBytes } from 'node:crypto'
import { entries } from '../config/schema-entries.js'
import { API_KEY_BYTES, apiKeyHash, apiKeyOf } from '../identity/api-keys.js'
import { readArguments, required } from './arguments.js'
import { exitCodes, UsageError } from './command.js'
import type { Command } from './command.js'

export const key: Command = {
  name: 'key',
  summary: 'make an API key, and the line of the policy that knows it',
  help: `Usage: tollgate key new --id ID --tenant TENANT --subject SUBJECT [--client CLIENT] [--group GROUP]... [--expires TIME]

Draws a new API key and prints it, once: nothing keeps it, and it cannot be had from the policy, which has its hash.
Below it stands the entry for the section apiKeys of the policy. Whoever sends the key is the caller of that entry.

  --id ID            names the key in audit records and quotas by api_key; no secret
  --tenant TENANT    who pays
  --subject SUBJECT  who calls; of a name that an issuer gives in the same tenant it is the same caller
  --client CLIENT    the program that calls
  --group GROUP      a group that the caller is in; may be given again
  --expires TIME     when the key ends, as 2027-01-31T00:00:00Z

Exit codes:
  0  printed
  2  the command line is wrong`,
  run(args, terminal) {
    const { values, positionals } = readArguments(args, {
      id: { type: 'string' },
      tenant: { type: 'string' },
      subject: { type: 'string' },
      client: { type: 'string' },
      group: { type: 'string', multiple: true },
      expires: { type: 'string' },
    })
    checkOperands(positionals)
    const { client, group, expires } = values
    const made = apiKeyOf(randomBytes(API_KEY_BYTES))
    const entry = {
      id: required(values.id, '--id ID'),
      sha256: apiKeyHash(made),
      tenant: required(values.tenant, '--tenant TENANT'),
      subject: required(values.subject, '--subject SUBJECT'),
      ...(client === undefined ? {} : { client }),
      ...(group === undefined ? {} : { groups: group }),
      ...(expires === undefined ? {} : { expires }),
    }
    checkEntry(entry)
    terminal.out(made)
    terminal.out(
      '# The key above is shown this once. For apiKeys of the policy, which does not have it:',
    )
    terminal.out(`- ${flowMapping(entry)}`)
    return Promise.resolve(exitCodes.ok)
  },
}

function checkOperands([what, ...others]: readonly string[]): void {
  if (what === undefined) throw new UsageError('"new" is needed')
  if (what !== 'new') throw new UsageError(`unknown argument "${what}"; there is "new"`)
  if (others[0] !== undefined) throw new UsageError(`unexpected argument "${others[0]}"`)
}

/** Held against the schema of the policy, so that what is printed is taken there. */
function checkEntry(entry: Readonly<Record<string, unknown>>): void {
  const [issue] = entries.apiKeys.safeParse(entry).error?.issues ?? []
  if (issue === undefined) return
  const [name] = issue.path
  throw new UsageError(`--${name === 'groups' ? 'group' : String(name)}: expected ${issue.message}`)
}

/** One line of YAML; a text in JSON is one in YAML, whatever is in it. */
function flowMapping(entry: Readonly<Record<string, unknown>>): string {
  const members = Object.entries(entry).map(([name, value]) => `${name}: ${JSON.stringify(value)}`)
  return `{ ${members.join(', ')} }`
}
