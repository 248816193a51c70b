import { FORMAT_VERSION, GENESIS_HASH } from './chain.js'
import { checkCheckpoint } from './checkpoint.js'
import type { VerifyingKey } from './checkpoint.js'
import { isHeader, readLine } from './read-line.js'
import type { ChainLine } from './read-line.js'
import type { AuditBroken, AuditFault, AuditLack, VerifyResult } from './verify-result.js'

/** Takes the lines of a chain in their order and says where it first breaks. */
export interface ChainFollower {
  /** Takes the next line; answers when it is bad. */
  line(line: Buffer): AuditBroken | undefined
  end(tornBytes: number): VerifyResult
  broken(fault: AuditFault, seq: number | undefined): AuditBroken
  lineCount(): number
}

/**
 * @param keys whose checkpoints are believed
 * @param anchorLines checkpoint lines seen elsewhere, that the chain must hold
 * @param continues the chain may begin with a later file
 */
export function followChain(
  keys: readonly VerifyingKey[],
  anchorLines: readonly string[],
  continues: boolean,
): ChainFollower {
  let chainId: string | undefined
  let firstSeq = 0
  let beginsTruncated = false
  let last: ChainLine | undefined
  let lineCount = 0
  let provedCount = 0
  let adoptedCount = 0
  let checkpointCount = 0
  let lastCheckpointTime: string | undefined
  let lostRecordCount = 0
  let sinceCheckpoint = 0
  let checkpointEvery = 0
  const anchors = readAnchors(keys, anchorLines)

  const broken = (fault: AuditFault, seq: number | undefined): AuditBroken => ({
    kind: 'broken',
    fault,
    line: lineCount + 1,
    seq,
    provedCount,
  })

  function place(line: ChainLine): AuditFault | undefined {
    const { own } = line
    if (isHeader(own) && own.format !== FORMAT_VERSION) return 'malformed'
    if (last === undefined) {
      if (!isHeader(own)) return 'header_missing'
      if (line.seq === 0 && line.prev !== GENESIS_HASH) return 'broken_link'
      chainId = own.chainId
      firstSeq = line.seq
      beginsTruncated = own.type === 'truncation'
    } else if (line.seq !== last.seq + 1 || line.prev !== last.hash) {
      return 'broken_link'
    }
    const named = own === undefined || own.type === 'gap' ? chainId : own.chainId
    return named === chainId ? undefined : 'other_chain'
  }

  function weigh(line: ChainLine): AuditFault | undefined {
    const { own } = line
    if (own?.type === 'checkpoint') {
      const check = checkCheckpoint(own, line, keys)
      if (check === 'key_unknown') return check
      if (check === 'forged') return 'checkpoint_forged'
      provedCount += sinceCheckpoint + 1
      checkpointCount += 1
      lastCheckpointTime = own.time
      sinceCheckpoint = 0
      return undefined
    }
    if (own?.type === 'resume') {
      adoptedCount += sinceCheckpoint
      sinceCheckpoint = 0
    }
    if (own?.type === 'gap') lostRecordCount += own.lostRecords
    else if (own !== undefined) checkpointEvery = own.key === null ? 0 : own.checkpointEvery
    sinceCheckpoint += 1
    return checkpointEvery > 0 && sinceCheckpoint > checkpointEvery
      ? 'checkpoint_missing'
      : undefined
  }

  function lack(): AuditLack | undefined {
    if (beginsTruncated) return 'truncated_beginning'
    if (firstSeq > 0 && !continues) return 'beginning'
    return checkpointCount === 0 ? 'checkpoint' : undefined
  }

  return {
    broken,
    lineCount: () => lineCount,
    line(bytes) {
      const line = readLine(bytes)
      if (typeof line === 'string') return broken(line, undefined)
      const fault = place(line) ?? weigh(line)
      if (fault !== undefined) return broken(fault, line.seq)
      anchors.pending.delete(line.hash)
      lineCount += 1
      last = line
      return undefined
    },
    end(tornBytes) {
      if (chainId === undefined) return broken('header_missing', undefined)
      if (anchors.invalid) return broken('anchor_invalid', undefined)
      const missing = anchors.pending.values().next()
      if (missing.done !== true) return broken('anchor_missing', missing.value)
      const counts = {
        chainId,
        firstSeq,
        lineCount,
        provedCount,
        adoptedCount,
        unprovedCount: sinceCheckpoint,
        checkpointCount,
        lastCheckpointTime,
        lostRecordCount,
        tornBytes,
      }
      const lacking = lack()
      return lacking === undefined
        ? { kind: 'intact', ...counts }
        : { kind: 'unproved', lack: lacking, ...counts }
    },
  }
}

/** By their hash, so that two signed lines for one place (a fork) cannot both be found. */
function readAnchors(
  keys: readonly VerifyingKey[],
  lines: readonly string[],
): { readonly pending: Map<string, number>; readonly invalid: boolean } {
  const pending = new Map<string, number>()
  let invalid = false
  for (const text of lines) {
    const line = readLine(Buffer.from(text.trimEnd()))
    if (
      typeof line === 'string' ||
      line.own?.type !== 'checkpoint' ||
      checkCheckpoint(line.own, line, keys) !== 'valid'
    ) {
      invalid = true
    } else {
      pending.set(line.hash, line.seq)
    }
  }
  return { pending, invalid }
}
