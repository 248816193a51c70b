import { dirname, resolve } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import type { LedgerSettings } from '../quota/ledgers.js'
import type { CounterServer, CounterSettings } from '../ratelimit/open-counters.js'
import type { StoreAddress } from '../store/store.js'
import type { ListenAddress } from './address.js'
import type { Sections } from './schema.js'
import type { redisPlace } from './schema-redis.js'

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
  /** Undefined: there is no rate limit service. */
  readonly rateLimitService: RateLimitServiceSettings | undefined
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

/** The general rate limit service, beside the files of its limits. */
export interface RateLimitServiceSettings {
  /** Absolute. */
  readonly configDir: string
  readonly mergeDomains: boolean
  readonly mode: 'safe' | 'shared'
  /** The ledger's, if it has none of its own. */
  readonly store: CounterSettings['store']
  /** Limits per second are counted there instead. */
  readonly perSecond: CounterServer | undefined
  readonly cacheKeyPrefix: string
  readonly expirationJitterMaxSeconds: number
  /** 0: nothing is remembered. */
  readonly localCacheBytes: number
  readonly nearLimitRatio: number
  readonly stopWhenOver: boolean
  readonly shadowMode: boolean
  readonly quotaMode: boolean
  readonly responseDynamicMetadata: boolean
  /** Names of headers; undefined: none is sent. */
  readonly responseHeaders:
    { readonly limit: string; readonly remaining: string; readonly reset: string } | undefined
}

/** A file named in the policy: relative to the directory of the policy itself, wherever Tollgate was started. */
export function resolveFile(policyFile: string, path: string): string {
  return resolve(dirname(policyFile), path)
}

/** @param file path of the policy, for the files it names */
export function settingsFrom(file: string, sections: Sections): ServerSettings {
  const { listen, ledger, audit, limits, drain, log, rateLimitService } = sections
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
    rateLimitService:
      rateLimitService && rateLimitServiceFrom(file, rateLimitService, ledgerFrom(file, ledger)),
    log,
  }
}

function ledgerFrom(file: string, ledger: Sections['ledger']): LedgerSettings {
  const { kind, timeoutMs, maxPartitions, processes = 1 } = ledger
  if (kind === 'memory') return { kind, maxPartitions }
  return {
    kind,
    address: addressFrom(file, ledger),
    timeoutMs,
    maxPartitions,
    processes,
  }
}

type RedisSection = Pick<Sections['ledger'], keyof ReturnType<typeof redisPlace>>

function addressFrom(file: string, section: RedisSection): StoreAddress {
  const { tls, user, passwordFile } = section
  return {
    ...placeFrom(file, section),
    caFile: tls && resolveFile(file, tls.caFile),
    user,
    passwordFile: passwordFile && resolveFile(file, passwordFile),
  }
}

/** A rule sees to it that one of the three is there. */
function placeFrom(file: string, { url = '', sentinel, cluster }: RedisSection) {
  if (cluster !== undefined) return { cluster }
  return sentinel === undefined ? { url } : { sentinel: sentinelFrom(file, sentinel) }
}

function sentinelFrom(
  file: string,
  { master, nodes, user, passwordFile }: NonNullable<RedisSection['sentinel']>,
) {
  return { master, nodes, user, passwordFile: passwordFile && resolveFile(file, passwordFile) }
}

type RateLimitSection = NonNullable<Sections['rateLimitService']>

function rateLimitServiceFrom(
  file: string,
  { redis, perSecond, responseHeaders, ...section }: RateLimitSection,
  ledger: LedgerSettings,
): RateLimitServiceSettings {
  const { enabled, ...names } = responseHeaders
  return {
    ...section,
    configDir: resolveFile(file, section.configDir),
    store: redis === undefined ? counterStoreFrom(ledger) : redisFrom(file, redis),
    perSecond: perSecond && redisFrom(file, perSecond),
    responseHeaders: enabled ? names : undefined,
  }
}

function counterStoreFrom(ledger: LedgerSettings): CounterSettings['store'] {
  if (ledger.kind === 'memory') return { kind: 'memory' }
  return { kind: 'redis', address: ledger.address, timeoutMs: ledger.timeoutMs }
}

function redisFrom(file: string, redis: NonNullable<RateLimitSection['redis']>): CounterServer {
  return { kind: 'redis', address: addressFrom(file, redis), timeoutMs: redis.timeoutMs }
}

/** Made of several keys of their section: none has their name. */
const assembled: ReadonlySet<string> = new Set(['address', 'store'])

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
      if (isDeepStrictEqual(before[key], after[key])) continue
      changed.push(assembled.has(key) ? section : `${section}.${key}`)
    }
  }
  return changed
}
