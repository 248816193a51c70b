import { MIB_BYTES } from '../units.js'
import { redisPlace, redisTimeout } from './schema-redis.js'
import { filePath, flag, headerName, mapping, ratio, text, wholeNumber, word } from './values.js'

/** A Redis of the rate limit service alone. */
const ownRedis = () => mapping({ ...redisPlace(), timeoutMs: redisTimeout(80) })

/**
 * The general rate limit service, for every domain but Tollgate's own; without this section there is none. Its
 * switches are those of envoyproxy/ratelimit, with their meaning and default; `docs/ratelimit.md` says which is which.
 * Needs a restart; the files in `configDir` do not.
 */
export const rateLimitService = mapping({
  /** Every file in it, and in the directories below. */
  configDir: filePath('a directory of rate limit files'),
  /** Several files may be of one domain. */
  mergeDomains: flag().default(false),
  /** `safe`: counters of its own, atomic over a call. `shared`: the keys and commands of envoyproxy/ratelimit. */
  mode: word(['safe', 'shared']).default('safe'),
  /** Where it counts; without it, where the ledger is. */
  redis: ownRedis().optional(),
  /** Where limits per second are counted instead. */
  perSecond: ownRedis().optional(),
  /** Braces in it would put the counters of all domains on one node of a cluster, or those of one call on several. */
  cacheKeyPrefix: text(
    'a text of at most 64 printable characters, neither spaces nor braces',
    (value) => /^[!-z|~]{0,64}$/.test(value),
  ).default(''),
  /** A counter is kept for up to so much longer than its window. */
  expirationJitterMaxSeconds: wholeNumber(0, 86_400, 'seconds').default(300),
  /** Room to remember what is over its limit, without asking the store; 0: nothing is. */
  localCacheBytes: wholeNumber(0, 1024 * MIB_BYTES, 'bytes').default(0),
  /** From which part of a limit on a hit is told as near to it. */
  nearLimitRatio: ratio().default(0.8),
  /** A call that goes over counts no other descriptor of it. */
  stopWhenOver: flag().default(false),
  /** The answer to a call is always OK. */
  shadowMode: flag().default(false),
  /** Every rule is in quota mode. */
  quotaMode: flag().default(false),
  responseDynamicMetadata: flag().default(false),
  /** Sent to the client where a limit holds. */
  responseHeaders: mapping({
    enabled: flag().default(false),
    limit: headerName().default('RateLimit-Limit'),
    remaining: headerName().default('RateLimit-Remaining'),
    reset: headerName().default('RateLimit-Reset'),
  }).prefault({}),
}).optional()
