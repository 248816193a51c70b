import type { RateLimitCall } from '../../src/ratelimit/call.js'
import type { Counters, CountersOptions } from '../../src/ratelimit/counters.js'
import type { HitsKind } from '../../src/ratelimit/measure.js'
import { rateLimit } from '../../src/ratelimit/rate-limit.js'
import type { RateLimitAnswer, RateLimitParts, Status } from '../../src/ratelimit/rate-limit.js'
import type {
  Descriptor,
  RateLimit,
  RateLimitRule,
  RateLimitUnit,
} from '../../src/ratelimit/rule.js'
import { buildConfig } from '../../src/ratelimit/tree.js'
import type { FileDescriptor } from '../../src/ratelimit/tree.js'
import { SECOND_MS } from '../../src/units.js'

/** Makes the counters that a suite is about. The moment that counts is `nowEpochMs()` of the clock. */
export type CreateCounters = (
  options: CountersOptions & { readonly clock: TestClock },
) => Counters | Promise<Counters>

/** A moment that a test sets. */
export interface TestClock {
  nowEpochMs(): number
  monotonicMs(): number
  setSeconds(seconds: number): void
  advanceMs(durationMs: number): void
}

/** Begins in the middle of a second of a minute, of an hour, of a day. */
export function createTestClock(seconds = 1_000_000.5): TestClock {
  let nowMs = seconds * SECOND_MS
  return {
    nowEpochMs: () => nowMs,
    monotonicMs: () => nowMs,
    setSeconds(to) {
      nowMs = to * SECOND_MS
    },
    advanceMs(durationMs) {
      nowMs += durationMs
    },
  }
}

type Extras = Partial<Omit<RateLimitRule, 'limit'>> &
  Partial<Pick<FileDescriptor, 'detailedMetric' | 'valueToMetric' | 'shareThreshold'>> & {
    readonly below?: readonly FileDescriptor[]
  }

/**
 * A descriptor of a file: `at('key=value', '20/minute')`.
 *
 * @param limit `unlimited`, or undefined for a descriptor without a rule
 */
export function at(what: string, limit?: string, extras: Extras = {}): FileDescriptor {
  const [key = '', value = ''] = what.split('=')
  return {
    key,
    value,
    rule:
      limit === undefined
        ? undefined
        : {
            name: extras.name ?? '',
            limit: limit === 'unlimited' ? undefined : limitOf(limit),
            replaces: extras.replaces ?? [],
            shadowMode: extras.shadowMode ?? false,
            quotaMode: extras.quotaMode ?? false,
            metadata: extras.metadata,
          },
    detailedMetric: extras.detailedMetric ?? false,
    valueToMetric: extras.valueToMetric ?? false,
    shareThreshold: extras.shareThreshold ?? false,
    descriptors: extras.below ?? [],
  }
}

function limitOf(text: string): RateLimit {
  const [count, unit] = text.split('/')
  return { requestsPerUnit: Number(count), unit: unit as RateLimitUnit }
}

/**
 * A descriptor of a request: `D('a=b,c=d')`.
 *
 * @param brings `h`: its own hits_addend; `limit`: a limit of its own
 */
export function D(
  entries: string,
  brings: {
    readonly h?: number | bigint
    readonly limit?: string
    readonly refund?: boolean
  } = {},
): Descriptor {
  return {
    entries: entries.split(',').map((entry) => {
      const [key = '', value = ''] = entry.split('=')
      return { key, value }
    }),
    limit: brings.limit === undefined ? undefined : limitOf(brings.limit),
    hitsAddend: brings.h === undefined ? undefined : BigInt(brings.h),
    isNegativeHits: brings.refund ?? false,
  }
}

export interface Rig {
  readonly clock: TestClock
  /** One call in domain `d`, unless said otherwise. */
  call(
    descriptors: readonly Descriptor[],
    options?: { readonly h?: number; readonly domain?: string },
  ): Promise<RateLimitAnswer>
  /** The answer as `OK: OK 19 of 20/minute; NL`: the whole first, then each descriptor. */
  say(...call: Parameters<Rig['call']>): Promise<string>
  /** The same call so many times. */
  repeat(times: number, ...call: Parameters<Rig['call']>): Promise<readonly string[]>
  /** Hits measured so far under a name, by what became of them; 0 where none. */
  measured(metricKey: string): Readonly<Partial<Record<HitsKind, number>>>
  readonly answers: readonly RateLimitAnswer[]
}

/** Rules of domain `d`, in a service on the counters. */
export async function createRig(
  createCounters: CreateCounters,
  descriptors: readonly FileDescriptor[],
  options: Partial<Omit<RateLimitParts, 'counters'>> &
    Partial<CountersOptions> & {
      readonly clock?: TestClock
      readonly around?: (counters: Counters, clock: TestClock) => Counters
    } = {},
): Promise<Rig> {
  const {
    clock = createTestClock(),
    stopWhenOver = false,
    around = (counters) => counters,
  } = options
  const config = buildConfig([{ domain: 'd', descriptors }])
  const counters = around(await createCounters({ stopWhenOver, clock }), clock)
  const parts: RateLimitParts = {
    config: () => config,
    counters,
    shadowMode: false,
    quotaMode: false,
    nearLimitRatio: 0.8,
    responseDynamicMetadata: false,
    ...options,
  }
  const answers: RateLimitAnswer[] = []
  const rig: Rig = {
    clock,
    answers,
    async call(of, { h = 0, domain = 'd' } = {}) {
      const call: RateLimitCall = { domain, descriptors: of, hitsAddend: BigInt(h) }
      const answer = await rateLimit(call, parts)
      answers.push(answer)
      return answer
    },
    say: async (...call) => inWords(await rig.call(...call)),
    async repeat(times, ...call) {
      const said: string[] = []
      for (let made = 0; made < times; made += 1) said.push(await rig.say(...call))
      return said
    },
    measured(metricKey) {
      const sums: Partial<Record<HitsKind, number>> = {}
      for (const measure of answers.flatMap(({ measures }) => measures)) {
        if (measure.metricKey !== metricKey) continue
        for (const [kind, hits] of Object.entries(measure.hits) as [HitsKind, number][]) {
          if (hits > 0) sums[kind] = (sums[kind] ?? 0) + hits
        }
      }
      return sums
    },
  }
  return rig
}

function inWords({ isOver, statuses }: RateLimitAnswer): string {
  return `${isOver ? 'OVER' : 'OK'}: ${statuses.map(statusInWords).join('; ')}`
}

function statusInWords({ isOver, limit, remaining }: Status): string {
  if (limit === undefined) return remaining === 0 ? 'NL' : 'MAX'
  return `${isOver ? 'OVER' : 'OK'} ${String(remaining)} of ${String(limit.requestsPerUnit)}/${limit.unit}`
}
