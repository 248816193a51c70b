import { describe, expect, test } from 'vitest'
import { readRateLimitFile } from '../../src/config/rate-limits/file.js'
import { keyPlaces } from '../../src/config/rate-limits/keys.js'
import { sections } from '../../src/config/schema.js'
import { policyKeys } from '../policy-keys.js'
import { MAX_COUNTERS } from '../../src/ratelimit/memory-counters.js'
import { callBounds } from '../../src/ratelimit/lookup.js'
import { unitSeconds } from '../../src/ratelimit/rule.js'
import { codeOf, read, spansOf, tableOf } from '../markdown.js'

const page = 'docs/ratelimit.md'
const settings = tableOf(page, ['setting', 'here', 'how'])

/** What envoyproxy/ratelimit takes from its environment, without what it has a second time for limits per second. */
const environment = `
BACKEND_TYPE CACHE_KEY_PREFIX CONFIG_GRPC_XDS_CLIENT_ADDITIONAL_HEADERS CONFIG_GRPC_XDS_CLIENT_TLS_CERT
CONFIG_GRPC_XDS_CLIENT_TLS_KEY CONFIG_GRPC_XDS_NODE_ID CONFIG_GRPC_XDS_NODE_METADATA
CONFIG_GRPC_XDS_SERVER_CONNECT_RETRY_INTERVAL CONFIG_GRPC_XDS_SERVER_TLS_CACERT CONFIG_GRPC_XDS_SERVER_TLS_SAN
CONFIG_GRPC_XDS_SERVER_URL CONFIG_GRPC_XDS_SERVER_USE_TLS CONFIG_TYPE DEBUG_HOST DEBUG_PORT DISABLE_STATS
EXPIRATION_JITTER_MAX_SECONDS EXTRA_TAGS FORCE_START_WITHOUT_INITIAL_CONFIG GRPC_CLIENT_TLS_CACERT
GRPC_CLIENT_TLS_SAN GRPC_HOST GRPC_MAX_CONNECTION_AGE GRPC_MAX_CONNECTION_AGE_GRACE GRPC_PORT
GRPC_SERVER_TLS_CERT GRPC_SERVER_TLS_KEY GRPC_SERVER_USE_TLS GRPC_UDS HEALTHY_WITH_AT_LEAST_ONE_CONFIG_LOADED HOST
LIMIT_LIMIT_HEADER LIMIT_REMAINING_HEADER LIMIT_REQUEST_HEADERS_ENABLED LIMIT_RESET_HEADER
LIMIT_RESPONSE_HEADERS_ENABLED LOCAL_CACHE_SIZE_IN_BYTES LOG_FORMAT LOG_LEVEL MEMCACHE_HOST_PORT
MEMCACHE_MAX_IDLE_CONNS MEMCACHE_SRV MEMCACHE_SRV_REFRESH MEMCACHE_TLS MEMCACHE_TLS_CACERT
MEMCACHE_TLS_CLIENT_CERT MEMCACHE_TLS_CLIENT_KEY MEMCACHE_TLS_SKIP_HOSTNAME_VERIFICATION MERGE_DOMAIN_CONFIG
NEAR_LIMIT_RATIO PORT PROMETHEUS_ADDR PROMETHEUS_MAPPER_YAML PROMETHEUS_PATH
PROMETHEUS_RESPONSE_TIME_AS_MILLISECONDS QUOTA_MODE REDIS_AUTH REDIS_CLUSTER_PIPELINE_PARALLELISM
REDIS_HEALTH_CHECK_ACTIVE_CONNECTION REDIS_PERSECOND REDIS_PIPELINE_LIMIT REDIS_PIPELINE_WINDOW
REDIS_POOL_ON_EMPTY_BEHAVIOR REDIS_POOL_SIZE REDIS_SENTINEL_AUTH REDIS_SOCKET_TYPE
REDIS_STARTUP_INITIAL_INTERVAL REDIS_STARTUP_MAX_ELAPSED_TIME REDIS_STARTUP_MAX_INTERVAL REDIS_TIMEOUT REDIS_TLS
REDIS_TLS_CACERT REDIS_TLS_CLIENT_CERT REDIS_TLS_CLIENT_KEY REDIS_TLS_SKIP_HOSTNAME_VERIFICATION REDIS_TYPE
REDIS_URL RESPONSE_DYNAMIC_METADATA RUNTIME_APPDIRECTORY RUNTIME_IGNOREDOTFILES RUNTIME_ROOT
RUNTIME_SUBDIRECTORY RUNTIME_WATCH_ROOT SHADOW_MODE STATSD_HOST STATSD_PORT STATS_FLUSH_INTERVAL
STOP_CACHE_KEY_INCREMENT_WHEN_OVERLIMIT TRACING_ENABLED TRACING_EXPORTER_PROTOCOL TRACING_SAMPLING_RATE
TRACING_SERVICE_INSTANCE_ID TRACING_SERVICE_NAME TRACING_SERVICE_NAMESPACE USE_DOG_STATSD
USE_DOG_STATSD_MOGRIFIERS USE_PROMETHEUS USE_STATSD XDS_CLIENT_BACKOFF_INITIAL_INTERVAL
XDS_CLIENT_BACKOFF_JITTER XDS_CLIENT_BACKOFF_MAX_INTERVAL XDS_CLIENT_BACKOFF_RANDOM_FACTOR
XDS_CLIENT_MAX_MSG_SIZE_IN_BYTES
`

describe('docs/ratelimit.md', () => {
  test('has every key of a file, where it may stand', () => {
    const told = tableOf(page, ['key', 'where', 'meaning']).map(([key = '', where = '']) => [
      spansOf(key)[0] ?? '',
      where.replaceAll('`', ''),
    ])
    const known = new Map<string, string[]>()
    for (const [place, keys] of Object.entries(keyPlaces)) {
      // The one key of `replaces` is told of beside it.
      if (place === 'replaces') continue
      for (const key of keys) known.set(key, [...(known.get(key) ?? []), place])
    }
    expect(told.sort()).toEqual([...known].map(([key, places]) => [key, places.join(', ')]).sort())
  })

  test('has every unit', () => {
    const row = tableOf(page, ['key', 'where', 'meaning']).find(([key]) => key === '`unit`')
    expect(spansOf(row?.[2] ?? '')).toEqual(Object.keys(unitSeconds))
  })

  test('has every setting of envoyproxy/ratelimit once, with what becomes of it', () => {
    const names = settings.flatMap(([name = '']) => spansOf(name))
    expect([...names].sort()).toEqual(environment.trim().split(/\s+/).sort())
    const words = new Set(settings.map(([, here]) => here))
    expect([...words].sort()).toEqual(['equivalent', 'not supported', 'same', 'unnecessary'])
  })

  test('names keys of the policy that there are', () => {
    const named = settings.flatMap(([, , how = '']) =>
      spansOf(how).filter((span) => /^(rateLimitService|listen|log|ledger)\./.test(span)),
    )
    const wrong = named.filter(
      (name) => !policyKeys.some(({ path }) => path === name || path.startsWith(`${name}.`)),
    )
    expect(wrong).toEqual([])
    expect(Object.keys(sections)).toContain('rateLimitService')
  })

  test('shows a file without a fault', () => {
    const [text = '', ...others] = codeOf(page).filter((code) => code.startsWith('domain:'))
    expect(others).toEqual([])
    expect(readRateLimitFile('shown.yaml', text)).toMatchObject({ domain: 'edge', faults: [] })
  })

  test('says how many counters fit into memory', () => {
    expect(read(page)).toContain(`at most ${MAX_COUNTERS.toLocaleString('en')} counters at once`)
  })

  test('says the bounds of a call', () => {
    const { descriptors, entries, characters } = callBounds
    expect(read(page)).toContain(
      `at most ${String(descriptors)} descriptors with ${String(entries)} entries and ${characters.toLocaleString('en')} characters`,
    )
  })
})
