/** What is wrong with a line: a closed list. */
export type AuditFault =
  /** Not a line of this format. */
  | 'malformed'
  /** Its hash is not that of its bytes. */
  | 'edited'
  /** The file does not begin with a header: its beginning is gone. */
  | 'header_missing'
  /** It does not continue the line before: something was removed, inserted, reordered, or edited and hashed anew. */
  | 'broken_link'
  /** It belongs to another chain. */
  | 'other_chain'
  /** Signed by a key that was not given. */
  | 'key_unknown'
  /** The signature is not that of the key it names. */
  | 'checkpoint_forged'
  /** More lines without a checkpoint than the chain allows itself. */
  | 'checkpoint_missing'
  /** A checkpoint that was seen elsewhere is not in the file: its end was cut off, or it was written anew. */
  | 'anchor_missing'
  /** A checkpoint that was seen elsewhere is itself no signed line. */
  | 'anchor_invalid'

/** Why lines that all hold prove less than they should: a closed list, the worst first. */
export type AuditLack =
  /** The writer found the file cut to nothing, and what stood in it was not given. */
  | 'truncated_beginning'
  /** Earlier files exist and were not given, which the caller did not say. */
  | 'beginning'
  /** No checkpoint follows any line. */
  | 'checkpoint'

interface AuditCounts {
  readonly chainId: string
  /** 0, or the first line of a later file of a chain: then earlier files exist and were not looked at. */
  readonly firstSeq: number
  readonly lineCount: number
  /** Lines that a signature proves. */
  readonly provedCount: number
  /** Lines that no signature covered when the process ended without a last checkpoint; later ones cannot make up for it. */
  readonly adoptedCount: number
  /** Lines after the last checkpoint. */
  readonly unprovedCount: number
  readonly checkpointCount: number
  readonly lastCheckpointTime: string | undefined
  /** Records that the writer itself says were lost. */
  readonly lostRecordCount: number
  /** Bytes after the last line feed: a write under way, or one that a crash cut off. */
  readonly tornBytes: number
}

/** Nothing was changed up to the last checkpoint, as far as signatures can say. */
export interface AuditIntact extends AuditCounts {
  readonly kind: 'intact'
}

/** No line is bad, and yet whoever wants a proof has none. */
export interface AuditUnproved extends AuditCounts {
  readonly kind: 'unproved'
  readonly lack: AuditLack
}

/** The first bad line. */
export interface AuditBroken {
  readonly kind: 'broken'
  readonly fault: AuditFault
  /** 1-based, counted over all lines given; of `anchor_*` the number of lines. */
  readonly line: number
  /** What the line says it is; undefined when it cannot be read. */
  readonly seq: number | undefined
  /** Lines before it that a signature proves all the same. */
  readonly provedCount: number
}

export type VerifyResult = AuditIntact | AuditUnproved | AuditBroken
