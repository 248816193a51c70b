import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { startChild, waitUntilReady } from '../deploy/demo/child.js'
import type { Child } from '../deploy/demo/child.js'
import { findEnvoy } from '../deploy/demo/find-envoy.js'
import type { Stack } from '../deploy/demo/stack.js'
import { freePort } from '../test/free-port.js'

const extensions = 'type.googleapis.com/envoy.extensions'

/** The domain and the one descriptor that the route asks about, as the peer's rules have them. */
export const peerDomain = 'overshoot'
export const peerDescriptor = { key: 'tenant', value: 'acme' } as const

/**
 * An Envoy that limits tokens by envoyproxy/ratelimit, as is usual: it looks at the counter when a request comes, and
 * adds what the engine reports when the stream is done. Its upstream is the stand-in of the stack.
 */
export async function startPeerEnvoy(
  { directory, certificates, nodeA }: Stack,
  peerSocket: string,
): Promise<{ readonly url: string; readonly child: Child }> {
  const [port, adminPort] = [await freePort(), await freePort()]
  const address = (port_value: number) => ({
    socket_address: { address: '127.0.0.1', port_value },
  })
  const cluster = (name: string, endpoint: object, more: object) => ({
    name,
    type: 'STATIC',
    connect_timeout: '60s',
    load_assignment: {
      cluster_name: name,
      endpoints: [{ lb_endpoints: [{ endpoint: { address: endpoint } }] }],
    },
    ...more,
  })
  const { key, value } = peerDescriptor
  const actions = [{ generic_key: { descriptor_key: key, descriptor_value: value } }]
  const connectionManager = {
    '@type': `${extensions}.filters.network.http_connection_manager.v3.HttpConnectionManager`,
    stat_prefix: 'overshoot',
    route_config: {
      virtual_hosts: [
        {
          name: 'all',
          domains: ['*'],
          // As envoy.yaml does: an answer that is compressed hides its usage.
          request_headers_to_remove: ['accept-encoding'],
          routes: [{ match: { prefix: '/' }, route: { cluster: 'node', timeout: '0s' } }],
          typed_per_filter_config: {
            'envoy.filters.http.ratelimit': {
              '@type': `${extensions}.filters.http.ratelimit.v3.RateLimitPerRoute`,
              rate_limits: [
                { actions, hits_addend: { number: 0 } },
                {
                  actions,
                  hits_addend: { format: '%DYNAMIC_METADATA(usage:total)%' },
                  apply_on_stream_done: true,
                },
              ],
            },
          },
        },
      ],
    },
    http_filters: [
      {
        name: 'envoy.filters.http.ratelimit',
        typed_config: {
          '@type': `${extensions}.filters.http.ratelimit.v3.RateLimit`,
          domain: peerDomain,
          timeout: '60s',
          failure_mode_deny: true,
          rate_limit_service: {
            transport_api_version: 'V3',
            grpc_service: { envoy_grpc: { cluster_name: 'peer' } },
          },
        },
      },
      {
        name: 'envoy.filters.http.json_to_metadata',
        typed_config: {
          '@type': `${extensions}.filters.http.json_to_metadata.v3.JsonToMetadata`,
          response_rules: {
            rules: [
              {
                selectors: [{ key: 'usage' }, { key: 'total_tokens' }],
                on_present: { metadata_namespace: 'usage', key: 'total', type: 'NUMBER' },
              },
            ],
          },
        },
      },
      {
        name: 'envoy.filters.http.router',
        typed_config: { '@type': `${extensions}.filters.http.router.v3.Router` },
      },
    ],
  }
  const file = (filename: string) => ({ filename })
  const tls = {
    '@type': `${extensions}.transport_sockets.tls.v3.UpstreamTlsContext`,
    common_tls_context: {
      tls_params: {
        tls_minimum_protocol_version: 'TLSv1_3',
        tls_maximum_protocol_version: 'TLSv1_3',
      },
      tls_certificates: [
        {
          certificate_chain: file(certificates.envoy.certificateFile),
          private_key: file(certificates.envoy.keyFile),
        },
      ],
      validation_context: { trusted_ca: file(certificates.authorityFile) },
    },
  }
  const http2 = {
    '@type': `${extensions}.upstreams.http.v3.HttpProtocolOptions`,
    explicit_http_config: { http2_protocol_options: {} },
  }
  const config = {
    admin: { address: address(adminPort) },
    static_resources: {
      listeners: [
        {
          name: 'llm',
          address: address(port),
          filter_chains: [
            {
              filters: [
                {
                  name: 'envoy.filters.network.http_connection_manager',
                  typed_config: connectionManager,
                },
              ],
            },
          ],
        },
      ],
      clusters: [
        cluster('node', address(nodeA.port), {
          transport_socket: { name: 'envoy.transport_sockets.tls', typed_config: tls },
        }),
        cluster(
          'peer',
          { pipe: { path: peerSocket } },
          {
            typed_extension_protocol_options: {
              'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': http2,
            },
          },
        ),
      ],
    },
  }
  const configFile = join(directory, 'peer-envoy.json')
  await writeFile(configFile, JSON.stringify(config, null, 2))
  const child = await startChild({
    command: findEnvoy(),
    args: ['-c', configFile, '--concurrency', '2', '--disable-hot-restart', '--log-level', 'warn'],
    logFile: join(directory, 'peer-envoy.log'),
  })
  const url = `http://127.0.0.1:${String(adminPort)}/ready`
  await waitUntilReady({ name: 'Envoy', child, url, timeoutMs: 20_000 })
  return { url: `http://127.0.0.1:${String(port)}`, child }
}
