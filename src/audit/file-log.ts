import { randomBytes } from 'node:crypto'
import { readFile, truncate } from 'node:fs/promises'
import type { Clock } from '../clock.js'
import { ConfigError, DependencyError } from '../errors.js'
import { MIB_BYTES, MINUTE_MS } from '../units.js'
import { absent, openAppendFile } from './append-file.js'
import type { AppendFile } from './append-file.js'
import { openChainFile } from './chain-file.js'
import type { ChainFile } from './chain-file.js'
import { GENESIS_HASH, MAX_LINE_BYTES, payloadOf } from './chain.js'
import { readSigningKey } from './checkpoint.js'
import type { SigningKey } from './checkpoint.js'
import { createGroupCommit, systemSchedule } from './group-commit.js'
import type { Schedule } from './group-commit.js'
import { lockFile } from './lock.js'
import type { AuditLog } from './record.js'
import { readTail, TailError } from './tail.js'
import type { Tail } from './tail.js'

export interface AuditLogOptions {
  readonly file: string
  /** PEM file with the Ed25519 private key that signs checkpoints; undefined: none are written. */
  readonly keyFile: string | undefined
  /** An append that is not written by then fails. */
  readonly writeTimeoutMs: number
  readonly clock: Clock
  /** Receives each checkpoint line, without line feed, once it is in the file; meant for standard output. Must not throw. */
  readonly onCheckpoint: (line: string) => void
  readonly checkpointEveryRecords?: number
  readonly checkpointEveryMs?: number
  /** Appends that may wait for a write, 10,000 and 16 MiB unless told otherwise. */
  readonly maxQueueRecords?: number
  readonly maxQueueBytes?: number
  readonly schedule?: Schedule
  readonly openFile?: (path: string) => Promise<AppendFile>
}

// `seq`, `prev` and `hash` with their names and quotes, and the largest number.
const LINE_FRAME_BYTES = 200

/**
 * Opens the audit file and continues its chain, or begins one. One process at a time, until `close` or its end.
 *
 * A record is written when the operating system has its bytes: a crash of the process loses none of them, a
 * crash of the machine may lose the last seconds, which the checkpoints on standard output then show.
 *
 * @throws ConfigError the file is in use, is no audit file, its last lines were changed, or file or key cannot be read
 */
export async function openAuditLog(options: AuditLogOptions): Promise<AuditLog> {
  const { file: path, clock } = options
  const signingKey = await readKeyFile(options.keyFile)
  const lock = await orConfigError(path, 'a directory where a lock can be made', () =>
    lockFile(path),
  )
  if (lock === 'held') throw fault(path, 'a file that no other process writes')
  try {
    const tail = await orConfigError(path, 'an audit file, or a path where one can be made', () =>
      readEnd(path),
    )
    const chain = await orConfigError(path, 'a file that can be written', () =>
      continueChain(options, signingKey, tail),
    )
    return runLog(options, chain, lock.release, tail.tornBytes > 0, clock)
  } catch (error) {
    await lock.release()
    throw error
  }
}

async function readEnd(path: string): Promise<Tail> {
  const nothing: Tail = { chain: undefined, goodBytes: 0, tornBytes: 0 }
  return (await readTail(path).catch(absent)) ?? nothing
}

async function continueChain(
  options: AuditLogOptions,
  signingKey: SigningKey | undefined,
  tail: Tail,
): Promise<ChainFile> {
  if (tail.tornBytes > 0) await truncate(options.file, tail.goodBytes)
  return openChainFile({
    path: options.file,
    chainId: tail.chain?.chainId ?? randomBytes(16).toString('base64url'),
    state: tail.chain?.state ?? { nextSeq: 0, lastHash: GENESIS_HASH },
    signingKey,
    checkpointEvery: options.checkpointEveryRecords ?? 1000,
    clock: options.clock,
    onCheckpoint: options.onCheckpoint,
    openFile: options.openFile ?? openAppendFile,
  })
}

async function runLog(
  options: AuditLogOptions,
  chain: ChainFile,
  release: () => Promise<void>,
  tornLineRemoved: boolean,
  clock: Clock,
): Promise<AuditLog> {
  const schedule = options.schedule ?? systemSchedule
  const commit = createGroupCommit({
    write: (payloads, lostRecords) => chain.write(payloads, lostRecords),
    timeoutMs: options.writeTimeoutMs,
    maxQueueRecords: options.maxQueueRecords ?? 10_000,
    maxQueueBytes: options.maxQueueBytes ?? 16 * MIB_BYTES,
    clock,
    schedule,
  })

  const log: AuditLog = {
    append(record) {
      const payload = payloadOf(record)
      if (payload.length > MAX_LINE_BYTES - LINE_FRAME_BYTES) {
        return Promise.reject(
          new DependencyError('audit', 'the record is longer than a line may be'),
        )
      }
      return commit.append(payload)
    },
    async close() {
      cancelCheckpoint()
      await within(options.writeTimeoutMs, schedule, async () => {
        try {
          chain.requestCheckpoint()
          await commit.end()
        } finally {
          await chain.close().finally(release)
        }
      })
    },
  }

  let cancelCheckpoint = (): void => undefined
  const armCheckpoint = (): void => {
    cancelCheckpoint = schedule(options.checkpointEveryMs ?? MINUTE_MS, () => {
      chain.requestCheckpoint()
      commit.kick()
      armCheckpoint()
    })
  }
  armCheckpoint()

  if (tornLineRemoved) {
    const time = new Date(clock.nowEpochMs()).toISOString()
    await log.append({
      type: 'lifecycle',
      time,
      event: 'torn_line_removed',
      policyGeneration: null,
    })
  }
  return log
}

/** A disk that hangs must not keep the process from ending; the lock then ends with the process. */
function within(limitMs: number, schedule: Schedule, work: () => Promise<void>): Promise<void> {
  return new Promise((resolve, reject) => {
    const cancel = schedule(limitMs, () => {
      reject(new DependencyError('audit', `not closed within ${String(limitMs)} ms`))
    })
    work().then(resolve, reject).finally(cancel)
  })
}

async function readKeyFile(keyFile: string | undefined): Promise<SigningKey | undefined> {
  if (keyFile === undefined) return undefined
  try {
    return readSigningKey(await readFile(keyFile, 'utf8'))
  } catch (error) {
    throw fault(keyFile, `an Ed25519 private key in PEM form (${reasonOf(error)})`, 'audit.keyFile')
  }
}

async function orConfigError<T>(path: string, expected: string, act: () => Promise<T>): Promise<T> {
  try {
    return await act()
  } catch (error) {
    throw fault(path, `${expected} (${reasonOf(error)})`)
  }
}

function reasonOf(error: unknown): string {
  if (error instanceof TailError || error instanceof TypeError) return error.message
  if (error instanceof Error && 'code' in error) return String(error.code)
  return error instanceof Error ? error.message : 'unknown error'
}

function fault(path: string, expected: string, key = 'audit.file'): ConfigError {
  return new ConfigError([{ file: path, line: 0, key, value: '', expected }])
}
