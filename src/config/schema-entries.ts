import { z } from 'zod'
import { signatureAlgorithms } from '../identity/issuer.js'
import { encodingNames } from '../llm/encodings.js'
import { storeFailureAnswers } from '../quota/quota.js'
import { quotaUnitNames } from '../quota/units.js'
import { DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS } from '../units.js'
import type { Partly } from './partly.js'
import { quotaWindow } from './quota-window.js'
import {
  apiKeyId,
  apiKeyHash,
  claimPath,
  claimValue,
  dateTime,
  fieldName,
  filePath,
  flag,
  issuerUrl,
  list,
  mapping,
  modelName,
  modelPattern,
  name,
  price,
  quotaDimension,
  quotaLimit,
  requestPath,
  someOf,
  text,
  wholeNumber,
  word,
} from './values.js'

// The entries of the lists of the policy file; see `schema.ts`.

/** An identity provider whose credentials are accepted. */
const issuer = mapping({
  /** Compared with `iss` byte for byte; discovery starts from it. */
  issuer: issuerUrl(),
  /** A credential must name one of them in `aud`. */
  audiences: someOf(claimValue('an audience'), 20),
  algorithms: someOf(word(signatureAlgorithms), signatureAlgorithms.length),
  /** Who pays: exactly one of the two (`rules.ts`). */
  tenant: mapping({
    claim: claimPath().optional(),
    fixed: claimValue('a tenant').optional(),
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

/** A key of one caller, who sends it as the credential. The file has its hash alone: `tollgate key new` makes both. */
const apiKey = mapping({
  /** Names the key in records and in the partitions of `api_key`; no secret. */
  id: apiKeyId(),
  /** Of the whole key as sent. */
  sha256: apiKeyHash(),
  /** Who pays, */
  tenant: claimValue('a tenant'),
  /** and who calls: what an issuer's `sub` is. One that both name is one caller. */
  subject: claimValue('a subject'),
  client: claimValue('a client').optional(),
  groups: list(claimValue('a group'), 256).default([]),
  /** From then on it is refused. */
  expires: dateTime().optional(),
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
  /** For quotas of unit cost: for a million tokens, in the operator's own currency. */
  prices: mapping({
    input: price(),
    /** Of input that the engine read from its cache; if not given, that of `input`. */
    cachedInput: price().optional(),
    /** Of input that it wrote to its cache, where the dialect reports that; if not given, that of `input`. */
    cacheWrite: price().optional(),
    /** Reasoning is output. */
    output: price(),
  }).optional(),
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

/** Capacity: at most `limit` units per window for each partition. */
const quota = mapping({
  name: name(),
  unit: word(quotaUnitNames),
  /** Of unit `cost` in the operator's currency, as `25.50`. */
  limit: quotaLimit(),
  /** Over what time it counts; not with `in_flight`, which ends with the request. */
  window: quotaWindow().optional(),
  /** IANA time zone of a calendar window; UTC if not given. */
  timezone: text('an IANA time zone, as Europe/Berlin', (value) => value.length <= 64).optional(),
  /** Whose it is; an empty list is one partition for all callers together. */
  by: list(quotaDimension(), 16),
  /** With `group` in `by`: the caller counts in the first of these that it is in, else in one shared rest. */
  groups: list(claimValue('a group'), 10_000).default([]),
  /** Models it binds; all of them if not given. */
  models: list(modelPattern(), 1000).default([]),
  /** Reserved, settled and shown, but never refuses. */
  shadow: flag().default(false),
  /** What it says where its store cannot be asked: no; this process's share of the limit; yes, uncounted. */
  onStoreFailure: word(storeFailureAnswers).default('deny'),
  /** Other limits for some; the first counts whose lists, as far as they are given, all hold the caller. */
  overrides: list(
    mapping({
      tenants: list(claimValue('a tenant'), 10_000).default([]),
      groups: list(claimValue('a group'), 10_000).default([]),
      limit: quotaLimit(),
    }),
    200,
  ).default([]),
  /** A claim that carries the limit, where the credential has it; more than `atMost` is `atMost`. */
  limitClaim: mapping({ claim: claimPath(), atMost: quotaLimit() }).optional(),
  /** Processes may take slices of it ahead of requests, and decide from them without asking the store. */
  slices: flag().default(false),
})

/** Sections that are lists. */
export const entries = {
  issuers: issuer,
  apiKeys: apiKey,
  models: model,
  paths: plainPath,
  grants: grant,
  quotas: quota,
}

/** Most entries of each list: every request looks through grants and quotas one by one. */
export const maxEntries = 1000

export function entryList<Item extends z.ZodType>(item: Item) {
  const error = `a list of at most ${String(maxEntries)} entries`
  return z.array(item, { error }).max(maxEntries, { error })
}

export type Entry<Key extends keyof typeof entries> = z.output<(typeof entries)[Key]>
/** An entry as far as it is well formed. */
export type PartlyEntry<Key extends keyof typeof entries> = Partly<(typeof entries)[Key]>
