import type { z } from 'zod'
import { ledgerKinds } from '../quota/ledgers.js'
import { DAY_MS, HOUR_MS, MIB_BYTES, MINUTE_MS, SECOND_MS } from '../units.js'
import type { Partly } from './partly.js'
import { entries, entryList } from './schema-entries.js'
import { rateLimitService } from './schema-ratelimit.js'
import { redisPlace, redisTimeout } from './schema-redis.js'
import {
  address,
  filePath,
  flag,
  list,
  mapping,
  name,
  origin,
  ratio,
  someOf,
  text,
  wholeNumber,
  word,
} from './values.js'

/**
 * The policy file, section by section: with `schema-entries.ts`, `schema-redis.ts` and `schema-ratelimit.ts` this is its
 * reference. Keys that end in `Ms`, `Bytes` or `Tokens` are whole numbers of that unit. An unknown key is a fault,
 * everywhere. Rules that involve more than one key are in `rules.ts` and `grants.ts`.
 */

/** Where Tollgate listens. Needs a restart. */
const listen = mapping({
  /** For Envoy. A TCP address beyond loopback needs `tls`: whoever reaches it could end reservations. */
  grpc: address().prefault('unix:///run/tollgate/tollgate.sock'),
  tls: mapping({
    certFile: filePath('a PEM certificate chain'),
    keyFile: filePath('a PEM private key'),
    /** Who may have issued Envoy's client certificate. */
    clientCaFile: filePath('a PEM bundle of certificate authorities'),
    /** URI or DNS names of client certificates; any one of them must match exactly. */
    allowedSans: someOf(
      text('a URI or DNS name of a client certificate', (value) => /^[!-~]{1,2048}$/.test(value)),
      100,
    ),
  }).optional(),
  /** /metrics /healthz /readyz, nothing else: for the pod address. */
  metrics: address().prefault('0.0.0.0:9192'),
  /** /usage and everything that names a caller: loopback or a Unix socket only. */
  admin: address().prefault('127.0.0.1:9193'),
}).prefault({})

/** Where spending is kept. Needs a restart. With `memory` the limits hold per process. */
const ledger = mapping({
  kind: word(ledgerKinds).default('memory'),
  /** Where it is, and everything from here on but `maxPartitions`: for `redis`. */
  ...redisPlace(),
  timeoutMs: redisTimeout(60),
  /** Processes that share the limits, at least: of so many each has its share while Redis is away. */
  processes: wholeNumber(1, 10_000, 'processes').optional(),
  /** Balances that this process keeps in its memory; what is new and finds no room goes by `onStoreFailure`. */
  maxPartitions: wholeNumber(1000, 100_000_000, 'partitions').optional(),
}).prefault({})

const action = () => word(['block', 'flag', 'shadow', 'off'])

/** What prompts may say. Every detector is on unless it is switched off. */
const inspection = mapping({
  injection: mapping({
    action: action().default('block'),
    /** Findings below it are dropped. */
    threshold: ratio().default(0.9),
    /** The same for tool results and documents. */
    untrusted: mapping({ threshold: ratio().default(0.7) }).prefault({}),
  }).prefault({}),
  'control-tokens': mapping({ action: action().default('block') }).prefault({}),
  secrets: mapping({ action: action().default('block') }).prefault({}),
  'personal-data': mapping({
    action: action().default('flag'),
    kinds: list(word(['credit_card', 'iban', 'us_ssn', 'email', 'phone']), 5).default([
      'credit_card',
      'iban',
      'us_ssn',
    ]),
  }).prefault({}),
  prohibited: list(
    mapping({
      name: name(),
      action: action().default('block'),
      /** Found in any spelling of case, width and invisible characters. */
      phrases: list(
        text(
          'a phrase of 2 to 256 characters',
          (value) => value.length >= 2 && value.length <= 256,
        ),
        10_000,
      ).default([]),
      /** Regular expressions of the linear engine (RE2 syntax). */
      patterns: list(
        text(
          'a regular expression of 1 to 512 characters',
          (value) => value.length >= 1 && value.length <= 512,
        ),
        100,
      ).default([]),
    }),
    100,
  ).default([]),
}).prefault({})

/** The tamper-evident record of decisions; without this section none is kept. Needs a restart. */
const audit = mapping({
  file: filePath('the audit file'),
  /** Answer an allow only after its record was written. */
  required: flag().default(true),
  /** Ed25519 private key, PEM (PKCS #8), that signs the checkpoints. */
  keyFile: filePath('an Ed25519 private key in PEM'),
  writeTimeoutMs: wholeNumber(10, MINUTE_MS, 'milliseconds').default(2 * SECOND_MS),
}).optional()

/** Bounds of the work. Needs a restart. */
const limits = mapping({
  /** One number with Envoy's `max_request_bytes`; `tollgate check --envoy` compares. */
  maxBodyBytes: wholeNumber(1024, 64 * MIB_BYTES, 'bytes').default(8 * MIB_BYTES),
  /** Checks under way at once; those beyond it wait in Envoy. */
  maxConcurrentChecks: wholeNumber(1, 100_000, 'checks').default(1000),
  /** Reading, inspecting and counting one large body. */
  examinationTimeoutMs: wholeNumber(10, MINUTE_MS, 'milliseconds').default(2 * SECOND_MS),
  /** Threads for large bodies. */
  examinationWorkers: wholeNumber(1, 64, 'threads').default(2),
  /** Large bodies held at once, all together; a Check beyond it fails. */
  maxExaminationBytes: wholeNumber(MIB_BYTES, 16_384 * MIB_BYTES, 'bytes').default(256 * MIB_BYTES),
}).prefault({})

/** Browsers' origins. Envoy's cors filter answers them; `tollgate check --envoy` compares. */
const cors = mapping({ origins: list(origin(), 1000).default([]) }).prefault({})

/** How it stops after SIGTERM. Needs a restart. */
const drain = mapping({
  /** From "not serving" to refusing new connections: the time Envoy needs to notice. */
  delayMs: wholeNumber(0, 10 * MINUTE_MS, 'milliseconds').default(2 * SECOND_MS),
  /** How long calls under way may take after that. */
  deadlineMs: wholeNumber(0, HOUR_MS, 'milliseconds').default(20 * SECOND_MS),
}).prefault({})

const log = mapping({
  level: word(['trace', 'debug', 'info', 'warn', 'error', 'fatal']).default('info'),
}).prefault({})

/** The shortest time between the end of the longest stream and the end of its lease. */
export const leaseMarginMs = MINUTE_MS
/** The shortest lease, as messages say it. */
export const leastLease = `maxStreamMs + ${String(leaseMarginMs)}`
export const maxLeaseMs = 2 * DAY_MS

/** Sections that are one value each. */
export const sections = {
  listen,
  ledger,
  inspection,
  audit,
  limits,
  cors,
  drain,
  log,
  /** Longest stream; one number with the routes' `max_stream_duration` in Envoy. */
  maxStreamMs: wholeNumber(SECOND_MS, DAY_MS, 'milliseconds').default(30 * MINUTE_MS),
  /** How long a reservation waits for its report; if not given, `leastLease`, which `rules.ts` holds it to. */
  leaseMs: wholeNumber(0, maxLeaseMs, 'milliseconds', leastLease).optional(),
  /** Pass the caller's own credential on to the engine. */
  keepCredential: flag().default(false),
  rateLimitService,
}

/** The whole file. Its keys stand in the order in which they are documented. */
export const policyFile = mapping({
  ...sections,
  issuers: entryList(entries.issuers).default([]),
  apiKeys: entryList(entries.apiKeys).default([]),
  models: entryList(entries.models).default([]),
  paths: entryList(entries.paths).default([]),
  grants: entryList(entries.grants).default([]),
  quotas: entryList(entries.quotas).default([]),
})

/** What of a file is well formed by itself; rules that join several keys are checked on it afterwards. */
export type FileContent = Partly<typeof policyFile>
/** The same of a file in which nothing is wrong. */
export type SoundContent = z.output<typeof policyFile>
export type Sections = Pick<SoundContent, keyof typeof sections>
