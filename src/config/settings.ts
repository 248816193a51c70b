import { dirname, resolve } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import type { LedgerSettings } from '../quota/ledgers.js'
import type { ListenAddress } from './address.js'
import type { Sections } from './schema.js'

/** What of the file takes effect at start only; everything else is the `Policy` and reloads. */
export interface ServerSettings {
  readonly listen: {
    readonly grpc: ListenAddress
    readonly tls: ServerTls | undefined
    readonly metrics: ListenAddress
    readonly admin: ListenAddress
  }
  readonly ledger: LedgerSettings
  /** Undefined: no record is kept. */
  readonly audit: AuditSettings | undefined
  readonly limits: {
    /** The same number as in the policy; the receive limit of the gRPC server follows from it. */
    readonly maxBodyBytes: number
    readonly maxConcurrentChecks: number
    readonly examinationTimeoutMs: number
    readonly examinationWorkers: number
    readonly maxExaminationBytes: number
  }
  readonly drain: { readonly delayMs: number; readonly deadlineMs: number }
  readonly log: { readonly level: 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal' }
}

/** Mutual TLS of the gRPC listener. File paths are absolute. */
export interface ServerTls {
  readonly certFile: string
  readonly keyFile: string
  readonly clientCaFile: string
  /** A client certificate must carry one of these URI or DNS names. */
  readonly allowedSans: readonly string[]
}

export interface AuditSettings {
  readonly file: string
  readonly required: boolean
  readonly keyFile: string
  readonly writeTimeoutMs: number
}

/** A file named in the policy: relative to the directory of the policy itself, wherever Tollgate was started. */
export function resolveFile(policyFile: string, path: string): string {
  return resolve(dirname(policyFile), path)
}

/** @param file path of the policy, for the files it names */
export function settingsFrom(file: string, sections: Sections): ServerSettings {
  const { listen, ledger, audit, limits, drain, log } = sections
  return {
    listen: {
      grpc: listen.grpc,
      tls: listen.tls && {
        certFile: resolveFile(file, listen.tls.certFile),
        keyFile: resolveFile(file, listen.tls.keyFile),
        clientCaFile: resolveFile(file, listen.tls.clientCaFile),
        allowedSans: listen.tls.allowedSans,
      },
      metrics: listen.metrics,
      admin: listen.admin,
    },
    ledger: ledgerFrom(file, ledger),
    audit: audit && {
      ...audit,
      file: resolveFile(file, audit.file),
      keyFile: resolveFile(file, audit.keyFile),
    },
    limits,
    drain,
    log,
  }
}

function ledgerFrom(file: string, ledger: Sections['ledger']): LedgerSettings {
  const { kind, url, sentinel, cluster, tls, user, passwordFile, timeoutMs } = ledger
  if (kind === 'memory') return { kind }
  return {
    kind,
    // A rule sees to it that one of the three is there.
    url,
    sentinel: sentinel && sentinelFrom(file, sentinel),
    cluster,
    tls: tls && { caFile: resolveFile(file, tls.caFile) },
    user,
    passwordFile: passwordFile && resolveFile(file, passwordFile),
    timeoutMs,
  }
}

function sentinelFrom(
  file: string,
  { master, nodes, user, passwordFile }: NonNullable<Sections['ledger']['sentinel']>,
) {
  return { master, nodes, user, passwordFile: passwordFile && resolveFile(file, passwordFile) }
}

/** Names of the settings that differ, as `listen.grpc`: what a reload cannot change. */
export function changedSettings(running: ServerSettings, next: ServerSettings): readonly string[] {
  const changed: string[] = []
  for (const section of Object.keys(running) as (keyof ServerSettings)[]) {
    const before = running[section] as Record<string, unknown> | undefined
    const after = next[section] as Record<string, unknown> | undefined
    if (before === undefined || after === undefined) {
      if (before !== after) changed.push(section)
      continue
    }
    for (const key of Object.keys(before)) {
      if (!isDeepStrictEqual(before[key], after[key])) changed.push(`${section}.${key}`)
    }
  }
  return changed
}
