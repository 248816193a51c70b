import { afterEach } from 'vitest'
import { systemClock } from '../../src/clock.js'
import { loadConfig } from '../../src/config/load.js'
import type { RateLimitServiceSettings } from '../../src/config/settings.js'
import type { Counters } from '../../src/ratelimit/counters.js'
import { openCounters } from '../../src/ratelimit/open-counters.js'
import type { OpenCounters } from '../../src/ratelimit/open-counters.js'
import type { StoreAddress } from '../../src/store/store.js'
import type { CreateCounters } from './rig.js'

// Counters as a policy has them: its text is read, and what it says of Redis is opened.

/** `rateLimitService` of a policy. */
export type ServiceSection = Readonly<Record<string, unknown>>

/** Closed after the test. */
const opened: Counters[] = []
afterEach(() => {
  for (const counters of opened.splice(0)) counters.close()
})

/** How a policy says where a Redis of a test is. */
export function redisSection(address: StoreAddress): object {
  return { ...address, timeoutMs: 5000 }
}

/** @throws ConfigError */
export function settingsOf(section: ServiceSection): RateLimitServiceSettings {
  const policy = {
    issuers: [
      {
        issuer: 'https://idp.example.com',
        audiences: ['llm'],
        algorithms: ['ES256'],
        tenant: { claim: 'org' },
      },
    ],
    rateLimitService: { configDir: 'limits', ...section },
  }
  // JSON is YAML; a key whose value is undefined is left out.
  const { settings } = loadConfig('/etc/policy.yaml', JSON.stringify(policy))
  if (settings.rateLimitService === undefined) throw new Error('no rate limit service')
  return settings.rateLimitService
}

/** Those that the program would count with. */
export function openPolicy(section: ServiceSection, clock = systemClock): Counters {
  return openService(section, clock).counters
}

/** With what it knows of their stores. */
export function openService(section: ServiceSection, clock = systemClock): OpenCounters {
  return open(settingsOf(section), clock)
}

/**
 * For the contract: the moment is that of its clock, whatever Redis's own shows.
 *
 * @param flush empties what the section names
 */
export function createFromPolicy(
  section: () => ServiceSection,
  flush: () => Promise<unknown>,
): CreateCounters {
  return async ({ stopWhenOver, clock }) => {
    await flush()
    const settings = { ...settingsOf({ ...section(), stopWhenOver }), moments: 'given' as const }
    return open(settings, { ...systemClock, nowEpochMs: () => clock.nowEpochMs() }).counters
  }
}

function open(settings: Parameters<typeof openCounters>[0], clock = systemClock): OpenCounters {
  const service = openCounters(settings, {
    clock,
    random: Math.random,
    heapBytes: Infinity,
    onUnavailable: () => undefined,
    onAvailable: () => undefined,
  })
  opened.push(service.counters)
  return service
}
