import { z } from 'zod'
import { signatureAlgorithms } from '../identity/issuer.js'
import type { Issuer } from '../identity/issuer.js'
import { encodingNames } from '../llm/encodings.js'
import { DAY_MS, HOUR_MS, MIB_BYTES, MINUTE_MS, SECOND_MS } from '../units.js'
import { parseDuration } from './duration.js'
import {
  address,
  claimPath,
  claimValue,
  fieldName,
  filePath,
  flag,
  issuerUrl,
  list,
  mapping,
  modelName,
  modelPattern,
  name,
  origin,
  ratio,
  requestPath,
  scalar,
  someOf,
  text,
  wholeNumber,
  word,
} from './values.js'

/**
 * The policy file, section by section: this is its reference. Keys that end in `Ms`, `Bytes` or `Tokens` are
 * whole numbers of that unit. An unknown key is a fault, everywhere. Rules that involve more than one key
 * are in `rules.ts` and `grants.ts`.
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
  kind: scalar('memory (redis is not in this release)', (value) =>
    value === 'memory' ? value : undefined,
  ),
}).prefault({ kind: 'memory' })

/** An identity provider whose credentials are accepted. */
const issuer = mapping({
  /** Compared with `iss` byte for byte; discovery starts from it. */
  issuer: issuerUrl(),
  /** A credential must name one of them in `aud`. */
  audiences: someOf(claimValue('an audience'), 20),
  algorithms: someOf(word(signatureAlgorithms), signatureAlgorithms.length),
  /** Who pays: exactly one of the two. */
  tenant: mapping({
    claim: claimPath().optional(),
    fixed: claimValue('a tenant').optional(),
  }).transform(({ claim, fixed }, context): Issuer['tenant'] => {
    if (claim !== undefined && fixed === undefined) return { kind: 'claim', claim }
    if (claim === undefined && fixed !== undefined) return { kind: 'fixed', tenant: fixed }
    context.addIssue({ code: 'custom', message: 'exactly one of claim and fixed' })
    return z.NEVER
  }),
  /** Where the caller's groups stand; without it no caller of this issuer is in a group. */
  groups: mapping({ claim: claimPath() }).optional(),
  clockToleranceMs: wholeNumber(0, 2 * MINUTE_MS, 'milliseconds').default(30 * SECOND_MS),
  /** `exp` may lie at most this far ahead. */
  maxLifetimeMs: wholeNumber(MINUTE_MS, 31 * DAY_MS, 'milliseconds').default(DAY_MS),
  /** How long a fetched key set is used without asking again. */
  jwksCacheMs: wholeNumber(10 * SECOND_MS, DAY_MS, 'milliseconds').default(10 * MINUTE_MS),
  /** How much longer it is used while the provider cannot be reached. */
  jwksStaleMs: wholeNumber(0, 7 * DAY_MS, 'milliseconds').default(HOUR_MS),
  /** PEM bundle to trust for the provider's TLS, beside the system's. */
  caFile: filePath('a PEM bundle of certificate authorities').optional(),
  /** Allows an `http:` issuer on a loopback address (development). */
  insecureHttp: flag().default(false),
})

const maxTokens = 2 ** 31 - 1

const model = mapping({
  name: modelName(),
  /** Other names that callers may use for it. */
  aliases: list(modelName(), 100).default([]),
  /** The encoding that counts its input. */
  tokenizer: word(encodingNames),
  contextTokens: wholeNumber(1, maxTokens, 'tokens'),
  /** The output cap of a caller who names none and whose grant names none. */
  defaultOutputTokens: wholeNumber(1, maxTokens, 'tokens').default(1024),
  /** A request without an output cap: put one in, refuse it, or reserve the rest of the context. */
  uncapped: word(['cap', 'require', 'reserve']).default('cap'),
  /** A stream without usage: ask for it, refuse the request, or estimate. */
  streamUsage: word(['inject', 'require', 'estimate']).default('inject'),
  /** The engine stops generating when its client leaves, also without streaming. */
  stopsOnDisconnect: flag().default(false),
  /** Request fields beyond the dialect's list that are let through, or `*`. */
  extraFields: list(fieldName(), 200).default([]),
  /** Which GPU pool serves it. */
  pool: name(),
})

/** A path that names no model: exact path and method, no body, no reservation. */
const plainPath = mapping({
  path: requestPath(),
  method: word(['GET', 'HEAD', 'POST', 'PUT', 'DELETE']),
  pool: name(),
  /** Needs neither a credential nor a grant. */
  public: flag().default(false),
})

/** Who may call what. A grant covers a caller who is in every list that it has. */
const grant = mapping({
  /** For records and messages; `grants[2]` if not given. */
  name: name().optional(),
  tenants: list(claimValue('a tenant'), 10_000).default([]),
  groups: list(claimValue('a group'), 10_000).default([]),
  clients: list(claimValue('a client'), 10_000).default([]),
  /** True, and none of the three lists: every caller with a valid credential. */
  anyone: flag().default(false),
  models: list(modelPattern(), 1000).default([]),
  /** Entries of `paths`. */
  paths: list(requestPath(), 1000).default([]),
  /** Largest output of a request, for all choices together; else the model's `defaultOutputTokens`. */
  maxOutputTokens: wholeNumber(1, maxTokens, 'tokens').optional(),
  /** Guarded request fields that it admits, or `*`. */
  fields: list(fieldName(), 200).default([]),
  /** Says that no token quota needs to bind it. */
  unlimited: flag().default(false),
})

const calendarPeriods = ['minute', 'hour', 'day', 'month'] as const

const quotaWindow = scalar(
  'a duration from 1s to 31d, as 30s, 1m, 24h or 7d (sliding), or one of minute, hour, day, month (calendar)',
  (value) => {
    if (typeof value !== 'string') return undefined
    const period = calendarPeriods.find((candidate) => candidate === value)
    if (period !== undefined) return { kind: 'calendar' as const, period }
    const lengthMs = parseDuration(value)
    return lengthMs !== undefined && lengthMs <= 31 * DAY_MS
      ? { kind: 'sliding' as const, lengthMs }
      : undefined
  },
)

/** Capacity: at most `limit` units per window for each partition. */
const quota = mapping({
  name: name(),
  unit: word(['tokens', 'requests', 'in_flight']),
  limit: wholeNumber(1, Number.MAX_SAFE_INTEGER, 'units'),
  /** Over what time it counts; not with `in_flight`, which ends with the request. */
  window: quotaWindow.optional(),
  /** IANA time zone of a calendar window; UTC if not given. */
  timezone: text('an IANA time zone, as Europe/Berlin', (value) => value.length <= 64).optional(),
  /** Whose it is; an empty list is one partition for all callers together. */
  by: list(word(['tenant', 'subject', 'client', 'model', 'group']), 5),
  /** With `group` in `by`: the caller counts in the first of these that it is in, else in one shared rest. */
  groups: list(claimValue('a group'), 10_000).default([]),
  /** Models it binds; all of them if not given. */
  models: list(modelPattern(), 1000).default([]),
  /** Reserved, settled and shown, but never refuses. */
  shadow: flag().default(false),
})

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
  writeTimeoutMs: wholeNumber(10, MINUTE_MS, 'milliseconds').default(500),
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
  /** How long a reservation waits for its report; if not given, `maxStreamMs` + 60000. */
  leaseMs: wholeNumber(SECOND_MS + leaseMarginMs, 2 * DAY_MS, 'milliseconds').optional(),
  /** Pass the caller's own credential on to the engine. */
  keepCredential: flag().default(false),
}

/** Sections that are lists: each entry is read by itself, so that one wrong entry hides no fault of another. */
export const entries = {
  issuers: issuer,
  models: model,
  paths: plainPath,
  grants: grant,
  quotas: quota,
}

/** Most entries of each list: every request looks through grants and quotas one by one. */
export const maxEntries = 1000

/** Every key of the file, in the order in which they are documented. */
export const sectionNames = [...Object.keys(sections), ...Object.keys(entries)]

export type Sections = { readonly [Key in keyof typeof sections]: z.output<(typeof sections)[Key]> }
export type Entry<Key extends keyof typeof entries> = z.output<(typeof entries)[Key]>
export type IssuerEntry = Entry<'issuers'>
export type ModelEntry = Entry<'models'>
export type PathEntry = Entry<'paths'>
export type GrantEntry = Entry<'grants'>
export type QuotaEntry = Entry<'quotas'>
