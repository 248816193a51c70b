import { readFileSync } from 'node:fs'
import OpenAI from 'openai'
import { describe, expect, test } from 'vitest'
import { parse } from 'yaml'

// What envoy.yaml says about load, hardening and certificates. What it says about Check, routes and the report,
// `tollgate check --envoy` compares with the policy.

interface Cluster {
  readonly name: string
  readonly circuit_breakers?: object
  readonly transport_socket?: object
  readonly [setting: string]: unknown
}

interface Manager {
  readonly route_config: {
    readonly virtual_hosts: readonly {
      readonly typed_per_filter_config: Readonly<Record<string, Readonly<Record<string, unknown>>>>
      readonly routes: readonly { readonly name: string; readonly route: object }[]
    }[]
  }
  readonly http_filters: readonly { readonly name: string; readonly typed_config: object }[]
}

interface Shipped {
  readonly admin: object
  readonly overload_manager: object
  readonly static_resources: {
    readonly listeners: readonly {
      readonly filter_chains: readonly {
        readonly filters: readonly { readonly typed_config: Manager }[]
      }[]
    }[]
    readonly clusters: readonly Cluster[]
  }
}

const shipped = parse(readFileSync(new URL('../../envoy.yaml', import.meta.url), 'utf8')) as Shipped
const { listeners, clusters } = shipped.static_resources
const manager = listeners[0]?.filter_chains[0]?.filters[0]?.typed_config
const host = manager?.route_config.virtual_hosts[0]

function settingsOf(filter: string): object | undefined {
  return manager?.http_filters.find(({ name }) => name === filter)?.typed_config
}

test('lets nobody but this machine ask or stop Envoy, and an operator also while it refuses callers', () => {
  expect(shipped.admin).toEqual({
    address: { socket_address: { address: '127.0.0.1', port_value: 9901 } },
    ignore_global_conn_limit: true,
  })
})

test('bounds connections and memory before either runs out', () => {
  expect(shipped.overload_manager).toMatchObject({
    resource_monitors: [
      { typed_config: { max_active_downstream_connections: 10_000 } },
      { typed_config: { max_heap_size_bytes: 2 ** 31 } },
    ],
    actions: [
      {
        name: 'envoy.overload_actions.disable_http_keepalive',
        triggers: [{ name: 'envoy.resource_monitors.fixed_heap', threshold: { value: 0.85 } }],
      },
      {
        name: 'envoy.overload_actions.stop_accepting_requests',
        triggers: [{ name: 'envoy.resource_monitors.fixed_heap', threshold: { value: 0.95 } }],
      },
    ],
  })
})

test('bounds what one connection may hold, open and leave unread', () => {
  expect(listeners[0]).toMatchObject({ per_connection_buffer_limit_bytes: 2 ** 20 })
  expect(manager).toMatchObject({
    common_http_protocol_options: { idle_timeout: '900s' },
    http2_protocol_options: {
      max_concurrent_streams: 100,
      initial_stream_window_size: 2 ** 16,
      initial_connection_window_size: 2 ** 20,
    },
    stream_idle_timeout: '60s',
  })
})

test('hardens path and headers, and waits for neither longer than told', () => {
  expect(manager).toMatchObject({
    normalize_path: true,
    merge_slashes: true,
    path_with_escaped_slashes_action: 'REJECT_REQUEST',
    common_http_protocol_options: {
      headers_with_underscores_action: 'REJECT_REQUEST',
      max_headers_count: 100,
    },
    // Below the 60 KiB of Envoy's default, and within the 256 KiB that Tollgate takes beside a body.
    max_request_headers_kb: 48,
    // The peer is the client: what it writes into x-forwarded-for counts for nothing.
    use_remote_address: true,
    xff_num_trusted_hops: 0,
    always_set_request_id_in_response: true,
    request_headers_timeout: '10s',
    request_timeout: '60s',
  })
})

test('believes no answer of Tollgate that is no header, and closes when no report can be sent', () => {
  expect(settingsOf('envoy.filters.http.ext_authz')).toMatchObject({ validate_mutations: true })
  expect(settingsOf('envoy.filters.http.ratelimit')).toMatchObject({
    failure_mode_deny: true,
    timeout: '5s',
  })
})

test('reads usage out of events of up to 1 MiB', () => {
  expect(settingsOf('envoy.filters.http.sse_to_metadata')).toMatchObject({
    response_rules: { max_event_size: 2 ** 20 },
  })
})

test("lets a browser send every header that OpenAI's client sends", async () => {
  const sent: string[] = []
  const client = new OpenAI({
    apiKey: 'key',
    baseURL: 'http://llm.invalid/v1',
    fetch: async (_url, init) => {
      sent.push(...new Headers(init?.headers).keys())
      return Response.json({})
    },
  })
  const body = { model: 'llama', messages: [{ role: 'user', content: 'Hi' }] } as const
  await client.chat.completions.create({ ...body, messages: [...body.messages] })
  const allowed = String(
    host?.typed_per_filter_config['envoy.filters.http.cors']?.['allow_headers'],
  )
  // The others are a browser's own, or need no leave.
  const asked = sent.filter((name) => !['accept', 'user-agent', 'content-length'].includes(name))
  expect(asked).toContain('x-stainless-lang')
  expect(asked.filter((name) => !allowed.split(', ').includes(name))).toEqual([])
})

test('lets a browser send what an API takes, and read what its answers say', () => {
  const cors = host?.typed_per_filter_config['envoy.filters.http.cors']
  const lists = Object.entries(cors ?? {}).flatMap(([name, value]) =>
    typeof value === 'string' ? [[name, value.split(', ')]] : [],
  )
  expect(Object.fromEntries(lists)).toMatchObject({
    // Seconds in which a browser does not ask again.
    max_age: ['600'],
    allow_methods: ['GET', 'POST'],
    allow_headers: expect.arrayContaining([
      'authorization',
      'content-type',
      'x-api-key',
      'anthropic-version',
      'anthropic-beta',
      'anthropic-dangerous-direct-browser-access',
    ]) as string[],
    expose_headers: [
      'retry-after',
      'x-should-retry',
      'x-request-id',
      'x-tollgate-audit-id',
      ...['tokens', 'input-tokens', 'output-tokens', 'requests', 'cost'].flatMap((unit) => [
        `x-ratelimit-limit-${unit}`,
        `x-ratelimit-remaining-${unit}`,
        `x-ratelimit-reset-${unit}`,
      ]),
    ],
  })
})

test.each(['gpu-a', 'gpu-b'])(
  'the route %s lets a model think, ends every stream, and tries again only what no engine can have begun',
  (name) => {
    expect(host?.routes.find((route) => route.name === name)?.route).toEqual({
      cluster: name,
      timeout: '0s',
      max_stream_duration: { max_stream_duration: '1800s' },
      idle_timeout: '600s',
      retry_policy: { retry_on: 'connect-failure,refused-stream', num_retries: 1 },
    })
  },
)

describe.each(['gpu-a', 'gpu-b'])('the cluster %s', (name) => {
  const cluster = clusters.find((candidate) => candidate.name === name)

  test('sheds what its nodes cannot take', () => {
    expect(cluster?.circuit_breakers).toMatchObject({
      thresholds: [
        { max_connections: 1024, max_pending_requests: 1024, max_requests: 1024, max_retries: 64 },
      ],
    })
  })

  test('sets aside only nodes that cannot be reached: an engine that is full stays', () => {
    expect(cluster?.['outlier_detection']).toEqual({
      split_external_local_origin_errors: true,
      consecutive_local_origin_failure: 5,
      enforcing_consecutive_5xx: 0,
      enforcing_consecutive_gateway_failure: 0,
      enforcing_success_rate: 0,
      enforcing_local_origin_success_rate: 0,
      max_ejection_percent: 50,
    })
  })

  test('gives a busy engine time to say that it lives', () => {
    expect(cluster?.['health_checks']).toEqual([
      {
        timeout: '5s',
        interval: '10s',
        no_traffic_interval: '10s',
        unhealthy_threshold: 3,
        healthy_threshold: 1,
        http_health_check: { path: '/health' },
      },
    ])
  })

  test('notices a node that vanished while a model thinks', () => {
    expect(cluster?.['upstream_connection_options']).toEqual({
      tcp_keepalive: { keepalive_time: 60, keepalive_interval: 10, keepalive_probes: 3 },
    })
  })

  test('shows a client certificate from a watched file, and believes its own pool alone', () => {
    expect(cluster?.transport_socket).toMatchObject({
      typed_config: {
        common_tls_context: {
          tls_params: { tls_minimum_protocol_version: 'TLSv1_3' },
          tls_certificate_sds_secret_configs: [
            {
              sds_config: {
                path_config_source: { path: '/etc/envoy/sds/client-certificate.yaml' },
              },
            },
          ],
          combined_validation_context: {
            default_validation_context: {
              match_typed_subject_alt_names: [
                {
                  san_type: 'URI',
                  matcher: { exact: `spiffe://tollgate.example/ns/gpu/sa/${name}` },
                },
              ],
            },
            validation_context_sds_secret_config: {
              sds_config: { path_config_source: { path: '/etc/envoy/sds/authority.yaml' } },
            },
          },
        },
      },
    })
  })
})

test('notices a Tollgate that hangs, within the timeout of a Check', () => {
  const tollgate = clusters.find(({ name }) => name === 'tollgate')
  expect(tollgate?.['typed_extension_protocol_options']).toMatchObject({
    'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
      explicit_http_config: {
        http2_protocol_options: { connection_keepalive: { interval: '30s', timeout: '5s' } },
      },
    },
  })
})

test('lets as many Checks wait as Tollgate takes', () => {
  expect(clusters.find(({ name }) => name === 'tollgate')?.circuit_breakers).toMatchObject({
    thresholds: [{ max_pending_requests: 20_000, max_requests: 20_000 }],
  })
})
