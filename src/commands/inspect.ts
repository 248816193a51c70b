import { createReadStream } from 'node:fs'
import { readConfig } from '../config/load.js'
import { isDenial, safeName } from '../denial.js'
import { compileInspection } from '../inspection/inspect.js'
import type { Ask } from '../llm/ask.js'
import { dialectForPath, dialects } from '../llm/dialects.js'
import { parseJson } from '../llm/json.js'
import { readAsk } from '../llm/read-ask.js'
import type { Segment } from '../segment.js'
import { readArguments, required } from './arguments.js'
import { exitCodes, UsageError } from './command.js'
import type { Command, Terminal } from './command.js'
import { readAtMost } from './read-at-most.js'

const provenances = ['user', 'system', 'assistant', 'tool', 'tool_definition', 'document'] as const

export const inspect: Command = {
  name: 'inspect',
  summary: 'show what inspection finds in a text or request body',
  help: `Usage: tollgate inspect --policy FILE [OPTIONS] [FILE|-]

Inspects a text, or the JSON body of a request, as the policy says, and prints what was found: category, rule,
where, how sure, and what it leads to. Never the text itself. Without FILE, or with -, it reads standard input.

Only the text is judged. Of a request it also names the fields that the server refuses unless a grant's fields or a
model's extraFields list them; the caller, the model, its grants and the quotas are not looked at.

  --policy FILE  the policy
  --path PATH    the body is a request to PATH, as /v1/messages; without it, a body that a known path can read is
                 a request, and anything else is plain text
  --as WHO       whose plain text it is: ${provenances.join(', ')} (default: user)
  --json         print one JSON object

Exit codes:
  0  nothing that blocks
  1  the policy or the input cannot be used
  2  the command line is wrong
  3  something blocks`,
  async run(args, terminal) {
    const { values, positionals } = readArguments(args, {
      policy: { type: 'string' },
      path: { type: 'string' },
      as: { type: 'string', default: 'user' },
      json: { type: 'boolean', default: false },
    })
    if (positionals[1] !== undefined) {
      throw new UsageError(`unexpected argument "${positionals[1]}"`)
    }
    const { policy } = readConfig(required(values.policy, '--policy FILE'))
    const provenance = provenances.find((candidate) => candidate === values.as)
    if (provenance === undefined) throw new UsageError(`--as takes ${provenances.join(', ')}`)
    const body = await readBody(positionals[0] ?? '-', policy.maxBodyBytes, terminal)
    const input =
      values.path === undefined
        ? readAny(body, provenance)
        : readRequest(body, required(values.path, '--path PATH'))

    const findings = compileInspection(policy.inspection).inspect(input.segments)
    if (isDenial(findings)) throw new Error(findings.message)
    const blocked = findings.some((finding) => finding.action === 'block')
    const { readAs, segments, guardedFields, unknownFields } = input
    if (values.json) {
      terminal.out(
        JSON.stringify({
          readAs,
          segments: segments.length,
          guardedFields,
          unknownFields,
          blocked,
          findings,
        }),
      )
    } else {
      terminal.out(`read as ${readAs}, segments: ${String(segments.length)}`)
      if (guardedFields.length > 0) {
        terminal.out(`refused unless a grant lists them in fields: ${quoted(guardedFields)}`)
      }
      if (unknownFields.length > 0) {
        terminal.out(`refused unless the model lists them in extraFields: ${quoted(unknownFields)}`)
      }
      for (const line of table(findings)) terminal.out(line)
      terminal.out(blocked ? 'blocked' : 'not blocked')
    }
    return blocked ? exitCodes.blocked : exitCodes.ok
  },
}

interface Input {
  /** `text`, or the path that the body was read for. */
  readonly readAs: string
  readonly segments: readonly Segment[]
  /** Printable: an unknown name is the caller's own text. */
  readonly guardedFields: readonly string[]
  readonly unknownFields: readonly string[]
}

function inputOf(path: string, { segments, guardedFields, unknownFields }: Ask): Input {
  return {
    readAs: path,
    segments,
    guardedFields: guardedFields.map(safeName),
    unknownFields: unknownFields.map(safeName),
  }
}

function quoted(names: readonly string[]): string {
  return names.map((name) => `"${name}"`).join(', ')
}

async function readBody(file: string, maxBytes: number, terminal: Terminal): Promise<Buffer> {
  const body =
    file === '-'
      ? await terminal.readInput(maxBytes)
      : await readAtMost(createReadStream(file), maxBytes)
  if (body === undefined) {
    throw new Error(`the input is larger than limits.maxBodyBytes (${String(maxBytes)})`)
  }
  return body
}

function readRequest(body: Buffer, path: string): Input {
  const dialect = dialectForPath(path)
  if (dialect === undefined) {
    const paths = dialects.flatMap((candidate) => candidate.paths)
    throw new UsageError(`--path takes ${paths.join(', ')}`)
  }
  const json = parseJson(body)
  const ask = isDenial(json) ? json : readAsk(dialect, path, json)
  if (isDenial(ask)) throw new Error(`${ask.reason}: ${ask.message}`)
  return inputOf(path, ask)
}

function readAny(body: Buffer, provenance: Segment['provenance']): Input {
  const json = parseJson(body)
  if (!isDenial(json)) {
    for (const dialect of dialects) {
      for (const path of dialect.paths) {
        const ask = readAsk(dialect, path, json)
        if (!isDenial(ask)) return inputOf(path, ask)
      }
    }
  }
  const segments = [{ provenance, text: body.toString('utf8') }]
  return { readAs: 'text', segments, guardedFields: [], unknownFields: [] }
}

interface Row {
  readonly segment: number
  readonly provenance: string
  readonly span: readonly [number, number]
  readonly category: string
  readonly rule: string
  readonly score: number
  readonly action: string
}

function table(findings: readonly Row[]): readonly string[] {
  if (findings.length === 0) return ['no findings']
  const rows = [
    ['action', 'category', 'rule', 'segment', 'provenance', 'span', 'score'],
    ...findings.map((finding) => [
      finding.action,
      finding.category,
      finding.rule,
      String(finding.segment),
      finding.provenance,
      `${String(finding.span[0])}-${String(finding.span[1])}`,
      finding.score.toFixed(2),
    ]),
  ]
  const widths = rows[0]?.map((_, column) =>
    Math.max(...rows.map((row) => row[column]?.length ?? 0)),
  )
  return rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths?.[column] ?? 0))
      .join('  ')
      .trimEnd(),
  )
}
