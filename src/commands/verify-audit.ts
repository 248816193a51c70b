import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { readVerifyingKey } from '../audit/checkpoint.js'
import type { VerifyingKey } from '../audit/checkpoint.js'
import type { AuditBroken, AuditFault, AuditIntact } from '../audit/verify-result.js'
import { verifyAudit } from '../audit/verify.js'
import { readText } from '../config/load.js'
import { readArguments } from './arguments.js'
import { exitCodes, UsageError } from './command.js'
import type { Command, Terminal } from './command.js'

export const verifyAuditFile: Command = {
  name: 'verify-audit',
  summary: 'prove that an audit file was not changed',
  help: `Usage: tollgate verify-audit FILE... --key PUB [--key PUB]... [--anchors FILE]

Follows the hash chain through the file, or through several files of one chain in their order, and checks every
signed checkpoint. It finds any edit, deletion, reordering or truncation up to the last checkpoint.

  --key PUB       Ed25519 public key in PEM ("openssl pkey -in KEY -pubout"); several after a change of keys
  --anchors FILE  checkpoint lines kept elsewhere, from standard output of "tollgate serve": each must be in the
                  chain. Only they can show that the end of the last file was cut off.

Exit codes:
  0  intact up to the last checkpoint
  1  changed, or not readable; the first bad line is named
  2  the command line is wrong`,
  async run(args, terminal) {
    const { values, positionals } = readArguments(args, {
      key: { type: 'string', multiple: true, default: [] },
      anchors: { type: 'string' },
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
      ...(onProgress === undefined ? {} : { onProgress }),
    })
    terminal.progress?.('')
    if (result.kind === 'intact') {
      for (const line of describeIntact(result)) terminal.out(line)
      return exitCodes.ok
    }
    terminal.out(describeBroken(result))
    return exitCodes.failed
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

function describeIntact(result: AuditIntact): readonly string[] {
  const lines = [
    `intact: ${String(result.provedCount)} of ${String(result.lineCount)} lines are proved by ${String(result.checkpointCount)} checkpoints of chain ${result.chainId}`,
  ]
  if (result.lastCheckpointTime !== undefined) {
    lines.push(`last checkpoint: ${result.lastCheckpointTime}`)
  }
  if (result.unprovedCount > 0) {
    lines.push(`not proved: ${String(result.unprovedCount)} lines after the last checkpoint`)
  }
  if (result.adoptedCount > 0) {
    lines.push(
      `not proved: ${String(result.adoptedCount)} lines before a restart without a last checkpoint`,
    )
  }
  if (result.firstSeq > 0) {
    lines.push(`earlier files of the chain, up to line ${String(result.firstSeq)}, were not given`)
  }
  if (result.lostRecordCount > 0) {
    lines.push(`lost: ${String(result.lostRecordCount)} records, by what the writer says itself`)
  }
  if (result.tornBytes > 0) {
    lines.push(`${String(result.tornBytes)} bytes of an unfinished line at the end`)
  }
  return lines
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
  return `broken at line ${String(result.line)}${seq}: ${faultSentences[result.fault]}; ${String(result.provedCount)} lines before it are proved`
}
