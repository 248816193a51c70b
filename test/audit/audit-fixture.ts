import { generateKeyPairSync } from 'node:crypto'
import { createReadStream, mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openAppendFile } from '../../src/audit/append-file.js'
import type { AppendFile } from '../../src/audit/append-file.js'
import { readVerifyingKey } from '../../src/audit/checkpoint.js'
import type { VerifyingKey } from '../../src/audit/checkpoint.js'
import { openAuditLog } from '../../src/audit/file-log.js'
import type { AuditLogOptions } from '../../src/audit/file-log.js'
import type { Schedule } from '../../src/audit/group-commit.js'
import type { AuditLog, DecisionRecord } from '../../src/audit/record.js'
import { verifyAudit } from '../../src/audit/verify.js'
import type { VerifyResult } from '../../src/audit/verify-result.js'
import type { Clock } from '../../src/clock.js'

/** Time that stands until it is moved, and the timers that then run. */
export interface ManualTime {
  readonly clock: Clock
  readonly schedule: Schedule
  readonly advance: (ms: number) => void
}

export function manualTime(): ManualTime {
  let nowMs = 0
  const timers = new Set<{ readonly atMs: number; readonly run: () => void }>()
  return {
    clock: { nowEpochMs: () => 1_780_000_000_000 + nowMs, monotonicMs: () => nowMs },
    schedule(delayMs, run) {
      const timer = { atMs: nowMs + delayMs, run }
      timers.add(timer)
      return () => timers.delete(timer)
    },
    advance(ms) {
      nowMs += ms
      for (const timer of [...timers].sort((a, b) => a.atMs - b.atMs)) {
        if (timer.atMs <= nowMs && timers.delete(timer)) timer.run()
      }
    },
  }
}

/** A key pair in files, as an operator has it. */
export function makeKeys(): { readonly keyFile: string; readonly verifying: VerifyingKey } {
  const pair = generateKeyPairSync('ed25519')
  const keyFile = join(scratch(), 'audit.pem')
  writeFileSync(keyFile, pair.privateKey.export({ type: 'pkcs8', format: 'pem' }))
  const pem = pair.publicKey.export({ type: 'spki', format: 'pem' })
  return { keyFile, verifying: readVerifyingKey(pem.toString()) }
}

export function scratch(): string {
  return mkdtempSync(join(tmpdir(), 'tollgate-audit-'))
}

export interface Bench {
  readonly file: string
  readonly time: ManualTime
  readonly keys: readonly VerifyingKey[]
  /** Checkpoint lines as standard output saw them. */
  readonly checkpoints: string[]
  open(options?: Partial<AuditLogOptions>): Promise<AuditLog>
  verify(anchors?: readonly string[], continues?: boolean): Promise<VerifyResult>
  lines(): string[]
  records(): Record<string, unknown>[]
}

/** An audit log in a directory of its own. */
export function makeBench(): Bench {
  const file = join(scratch(), 'audit.jsonl')
  const time = manualTime()
  const { keyFile, verifying } = makeKeys()
  const checkpoints: string[] = []
  const lines = (): string[] => readFileSync(file, 'utf8').split('\n').slice(0, -1)
  return {
    file,
    time,
    keys: [verifying],
    checkpoints,
    open: (options = {}) =>
      openAuditLog({
        file,
        keyFile,
        writeTimeoutMs: 200,
        clock: time.clock,
        schedule: time.schedule,
        onCheckpoint: (line) => checkpoints.push(line),
        ...options,
      }),
    verify: (anchors = [], continues = false) =>
      verifyAudit(createReadStream(file), { keys: [verifying], anchors, continues }),
    lines,
    records: () => lines().map((line) => JSON.parse(line) as Record<string, unknown>),
  }
}

export function decision(auditId: string): DecisionRecord {
  return {
    type: 'decision',
    time: '2026-05-28T10:00:00.000Z',
    auditId,
    requestId: null,
    issuer: 'https://idp.example.com',
    tenant: 'acme',
    subject: 'alice',
    client: null,
    apiKey: null,
    path: '/v1/chat/completions',
    peer: null,
    context: {},
    model: 'llama',
    decision: 'allow',
    reason: null,
    detail: null,
    quota: null,
    shadowQuotas: [],
    localQuotas: [],
    uncountedQuotas: [],
    findings: [],
    findingCount: 0,
    reservedTokens: 100,
    pool: 'gpu-a',
    policyGeneration: '0123456789ab',
  }
}

/** A disk that does as it is told; everything else is the real file. */
export interface Disk {
  append: (bytes: Uint8Array, real: AppendFile) => Promise<number>
  truncate: (sizeBytes: number, real: AppendFile) => Promise<void>
  /** Calls of append since the log was opened. */
  appends: number
  /** Writes that were begun, also those with nothing to write. */
  looks: number
}

export function faultyDisk(): {
  readonly disk: Disk
  readonly openFile: (path: string) => Promise<AppendFile>
} {
  const disk: Disk = {
    append: (bytes, real) => real.append(bytes),
    truncate: (sizeBytes, real) => real.truncate(sizeBytes),
    appends: 0,
    looks: 0,
  }
  return {
    disk,
    async openFile(path) {
      const real = await openAppendFile(path)
      return {
        ...real,
        append(bytes) {
          disk.appends += 1
          return disk.append(bytes, real)
        },
        truncate: (sizeBytes) => disk.truncate(sizeBytes, real),
        look() {
          disk.looks += 1
          return real.look()
        },
      }
    },
  }
}

export function noSpace(): Error {
  return Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' })
}
