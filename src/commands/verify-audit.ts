import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { readVerifyingKey } from '../audit/checkpoint.js'
import type { VerifyingKey } from '../audit/checkpoint.js'
import type {
  AuditBroken,
  AuditFault,
  AuditIntact,
  AuditLack,
  AuditUnproved,
  VerifyResult,
} from '../audit/verify-result.js'
import { verifyAudit } from '../audit/verify.js'
import { readText } from '../config/load.js'
import { readArguments } from './arguments.js'
import { exitCodes, UsageError } from './command.js'
import type { Command, Terminal } from './command.js'

export const verifyAuditFile: Command = {
  name: 'verify-audit',
  summary: 'prove that an audit file was not changed',
  help: `Usage: tollgate verify-audit FILE... --key PUB [--key PUB]... [--anchors FILE] [--continues]

Follows the hash chain through the file, or through several files of one chain in their order, and checks every
signed checkpoint. It finds any edit, deletion, reordering or truncation up to the last checkpoint.

  --key PUB       Ed25519 public key in PEM ("openssl pkey -in KEY -pubout"); several after a change of keys
  --anchors FILE  checkpoint lines kept elsewhere, from standard output of "tollgate serve": each must be in the
                  chain. Only they can show that the end of the last file was cut off, or all of it while nothing ran.
  --continues     the first FILE is a later one of its chain, after a rotation, and the earlier ones are kept
                  elsewhere. Without it a chain has to begin with its first line. It is no excuse for a file that
                  was cut to nothing while it was written.

Exit codes:
  0  intact up to the last checkpoint
  1  changed: the first bad line is named; or nothing is proved, since no checkpoint follows any line; or the
     beginning is missing; or not readable
  2  the command line is wrong`,
  async run(args, terminal) {
    const { values, positionals } = readArguments(args, {
      key: { type: 'string', multiple: true, default: [] },
      anchors: { type: 'string' },
      continues: { type: 'boolean', default: false },
    })
    if (positionals.length === 0) throw new UsageError('an audit FILE is needed')
    if (values.key.length === 0) throw new UsageError('--key PUB is needed')
    const keys = values.key.map(readKey)
    const anchors =
      values.anchors === undefined
        ? []
        : readText(values.anchors)
            .split('\n')
            .filter((line) => line.trim() !== '')
    const totalBytes = await sizeOf(positionals)
    const onProgress = progressTo(terminal, totalBytes)
    const result = await verifyAudit(chunksOf(positionals), {
      keys,
      anchors,
      continues: values.continues,
      ...(onProgress === undefined ? {} : { onProgress }),
    })
    terminal.progress?.('')
    for (const line of describe(result)) terminal.out(line)
    return result.kind === 'intact' ? exitCodes.ok : exitCodes.failed
  },
}

function readKey(file: string): VerifyingKey {
  const pem = readText(file)
  try {
    return readVerifyingKey(pem)
  } catch (error) {
    throw new Error(`${file}: ${error instanceof Error ? error.message : 'not a key'}`, {
      cause: error,
    })
  }
}

async function sizeOf(files: readonly string[]): Promise<number> {
  const stats = await Promise.all(files.map((file) => stat(file)))
  return stats.reduce((sum, { size }) => sum + size, 0)
}

async function* chunksOf(files: readonly string[]): AsyncGenerator<Buffer> {
  for (const file of files) {
    for await (const chunk of createReadStream(file, { highWaterMark: 1_048_576 })) {
      yield chunk as Buffer
    }
  }
}

/** A line of progress per MiB, where somebody watches. */
function progressTo(terminal: Terminal, totalBytes: number) {
  const { progress } = terminal
  if (progress === undefined) return undefined
  return ({ bytes, lineCount }: { bytes: number; lineCount: number }): void => {
    const percent = totalBytes === 0 ? 100 : Math.floor((100 * bytes) / totalBytes)
    progress(`${String(percent)} %, ${String(lineCount)} lines`)
  }
}

function describe(result: VerifyResult): readonly string[] {
  switch (result.kind) {
    case 'intact': {
      const [proved, ...more] = describeCounts(result)
      return [`intact: ${proved}`, ...more]
    }
    case 'unproved':
      return [lackSentences[result.lack](result), ...describeCounts(result)]
    case 'broken':
      return [describeBroken(result)]
  }
}

const lackSentences: Readonly<Record<AuditLack, (result: AuditUnproved) => string>> = {
  truncated_beginning: ({ firstSeq }) =>
    `the beginning is missing: the file was cut to nothing while Tollgate wrote it, before line ${String(firstSeq)}; name a copy of what stood in it first`,
  beginning: ({ firstSeq }) =>
    `the beginning is missing: the first line is line ${String(firstSeq)} of its chain; name the earlier files too, or say --continues`,
  checkpoint: () =>
    'nothing is proved: no checkpoint follows any line; Tollgate signs one every 60 s, and when it stops',
}

function describeCounts(result: AuditIntact | AuditUnproved): readonly [string, ...string[]] {
  const { checkpointCount, provedCount, lineCount, unprovedCount } = result
  const more: string[] = []
  if (result.lastCheckpointTime !== undefined) {
    more.push(`last checkpoint: ${result.lastCheckpointTime}`)
  }
  if (checkpointCount > 0 && unprovedCount > 0) {
    more.push(`not proved: ${counted(unprovedCount, 'line')} after the last checkpoint`)
  }
  if (result.adoptedCount > 0) {
    more.push(
      `not proved: ${counted(result.adoptedCount, 'line')} before a restart without a last checkpoint`,
    )
  }
  if (result.kind === 'intact' && result.firstSeq > 0) {
    more.push(`earlier files of the chain, up to line ${String(result.firstSeq)}, were not given`)
  }
  if (result.lostRecordCount > 0) {
    more.push(`lost: ${counted(result.lostRecordCount, 'record')}, by what the writer says itself`)
  }
  if (result.tornBytes > 0) {
    more.push(`${counted(result.tornBytes, 'byte')} of an unfinished line at the end`)
  }
  const proved = `${String(provedCount)} of ${counted(lineCount, 'line')}`
  return [
    `${proved} ${lineCount === 1 ? 'is' : 'are'} proved by ${counted(checkpointCount, 'checkpoint')} of chain ${result.chainId}`,
    ...more,
  ]
}

function counted(count: number, what: string): string {
  return `${String(count)} ${what}${count === 1 ? '' : 's'}`
}

const faultSentences: Readonly<Record<AuditFault, string>> = {
  malformed: 'it is not a line of an audit file',
  edited: 'its hash is not that of its content: it was edited',
  header_missing: 'the file does not begin with a chain: its beginning is gone',
  broken_link:
    'it does not continue the line before: a line was removed, added, moved or rewritten',
  other_chain: 'it belongs to another chain',
  key_unknown: 'its checkpoint is signed by a key that was not given',
  checkpoint_forged: 'its signature is not that of the key it names',
  checkpoint_missing: 'a checkpoint should have come before it',
  anchor_missing:
    'a checkpoint of --anchors is not in the file: the end was cut off or written anew',
  anchor_invalid: 'a line of --anchors is not a signed checkpoint',
}

function describeBroken(result: AuditBroken): string {
  const seq = result.seq === undefined ? '' : ` (seq ${String(result.seq)})`
  return `broken at line ${String(result.line)}${seq}: ${faultSentences[result.fault]}; ${counted(result.provedCount, 'line')} before it ${result.provedCount === 1 ? 'is' : 'are'} proved`
}
