import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { parse } from 'yaml'

// What envoy.yaml says about load, hardening and certificates. What it says about Check, routes and the report,
// `tollgate check --envoy` compares with the policy.

interface Cluster {
  readonly name: string
  readonly circuit_breakers?: object
  readonly transport_socket?: object
}

interface Shipped {
  readonly overload_manager: object
  readonly static_resources: {
    readonly listeners: readonly {
      readonly filter_chains: readonly {
        readonly filters: readonly { readonly typed_config: object }[]
      }[]
    }[]
    readonly clusters: readonly Cluster[]
  }
}

const shipped = parse(readFileSync(new URL('../../envoy.yaml', import.meta.url), 'utf8')) as Shipped
const { listeners, clusters } = shipped.static_resources
const manager = listeners[0]?.filter_chains[0]?.filters[0]?.typed_config

test('bounds connections and memory before either runs out', () => {
  expect(shipped.overload_manager).toMatchObject({
    resource_monitors: [
      { typed_config: { max_active_downstream_connections: 10_000 } },
      { typed_config: { max_heap_size_bytes: 2 ** 31 } },
    ],
    actions: [
      { name: 'envoy.overload_actions.disable_http_keepalive' },
      { name: 'envoy.overload_actions.stop_accepting_requests' },
    ],
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
    use_remote_address: true,
    always_set_request_id_in_response: true,
    request_headers_timeout: '10s',
    request_timeout: '60s',
  })
})

describe.each(['gpu-a', 'gpu-b'])('the cluster %s', (name) => {
  const cluster = clusters.find((candidate) => candidate.name === name)

  test('sheds what its nodes cannot take', () => {
    expect(cluster?.circuit_breakers).toMatchObject({
      thresholds: [{ max_connections: 1024, max_pending_requests: 1024, max_requests: 1024 }],
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

test('lets as many Checks wait as Tollgate takes', () => {
  expect(clusters.find(({ name }) => name === 'tollgate')?.circuit_breakers).toMatchObject({
    thresholds: [{ max_pending_requests: 20_000, max_requests: 20_000 }],
  })
})
