import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { checkEnvoyFile } from '../../src/config/envoy-check.js'
import { reportFormats } from '../../src/config/envoy-report.js'
import type { EnvoyTerms } from '../../src/config/envoy-terms.js'
import type { EnvoyWire } from '../../src/config/envoy-wire.js'
import { readPolicy, readPolicyFile } from '../../src/config/load.js'
import { internalHeaders, reservedHeaders } from '../../src/envoy/internal-headers.js'
import { reportDomain, reportNames } from '../../src/envoy/report.js'

const smallest = readFileSync(new URL('fixtures/smallest.yaml', import.meta.url), 'utf8')
const agrees = readFileSync(new URL('envoy/agrees.yaml', import.meta.url), 'utf8')

const { envoyTerms: terms } = readPolicy(
  'policy.yaml',
  [
    'cors: { origins: ["https://app.example"] }',
    'paths: [{ path: /health, method: GET, pool: gpu-b }]',
    smallest,
  ].join('\n'),
)

const wire: EnvoyWire = {
  reservedHeaders: ['x-tollgate-pool', 'x-tollgate-tenant'],
  poolHeader: 'x-tollgate-pool',
  reportDomain: 'tollgate',
  reportNames: ['input', 'end'],
}

/** The messages, with the last part of the key alone: the way to it is long. */
function faultsOf(text: string, against: EnvoyTerms = terms): readonly string[] {
  return checkEnvoyFile('envoy.yaml', text, against, wire).map((fault) => {
    const key = fault.key.slice(fault.key.lastIndexOf('.') + 1)
    return `${key}${fault.value === '' ? '' : ` is ${fault.value};`} expected ${fault.expected}`
  })
}

function edited(edits: readonly (readonly [string, string])[]): string {
  return edits.reduce((text, [from, to]) => {
    if (!text.includes(from)) throw new Error(`the fixture has no ${from}`)
    return text.replace(from, to)
  }, agrees)
}

const poolA = `                        - match: { prefix: /, headers: [{ name: x-tollgate-pool, string_match: { exact: gpu-a } }] }
                          route: { cluster: pool-a, timeout: 0s, idle_timeout: 600s, max_stream_duration: { max_stream_duration: 1800s } }
`
const noPool =
  '                        - match: { prefix: / }\n                          route: { cluster: no-pool }\n'

interface Case {
  readonly edits: readonly (readonly [string, string])[]
  readonly faults: readonly string[]
}

const onlyByHeader =
  'no GPU pool: a route to one matches x-tollgate-pool exactly, prefix / and nothing else'
const noRouteForA =
  'routes is a list; expected a route for the pool gpu-a of the policy: prefix / and x-tollgate-pool exactly gpu-a'

const alwaysOn =
  'disabled is true; expected to be left out: every request is checked, and every stream reports its end'
const corsFilter = `                  - name: cors
                    typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors }
`
/** The filters that put in the cap and read usage, two of them within a matcher as in `envoy.yaml`. */
const meteringFilters = [
  '                  - name: router\n',
  [
    '                  - name: put-in-the-cap',
    '                    typed_config: { "@type": x.ExtensionWithMatcher, extension_config: { name: t, typed_config: { "@type": x.TransformConfig } } }',
    '                  - name: ask-for-usage',
    '                    typed_config: { "@type": x.TransformConfig }',
    '                  - name: sse-usage',
    '                    typed_config: { "@type": x.SseToMetadata }',
    '                  - name: json-usage',
    '                    typed_config: { "@type": x.ExtensionWithMatcher, extension_config: { name: j, typed_config: { "@type": x.JsonToMetadata } } }',
    '                  - name: router\n',
  ].join('\n'),
] as const

const cases: Readonly<Record<string, Case>> = {
  'failure mode allow': {
    edits: [
      [
        'encode_raw_headers: true',
        'encode_raw_headers: true\n                      failure_mode_allow: true',
      ],
    ],
    faults: [
      'failure_mode_allow is true; expected false: when Tollgate cannot answer, nothing passes',
    ],
  },
  'another body cap in ext_authz': {
    edits: [['max_request_bytes: 8388608', 'max_request_bytes: 65536']],
    faults: ["max_request_bytes is 65536; expected 8388608, the policy's limits.maxBodyBytes"],
  },
  'another body cap on the virtual host': {
    edits: [['request_body_buffer_limit: 8388608', 'request_body_buffer_limit: "8388609"']],
    faults: [
      `request_body_buffer_limit is "8388609"; expected 8388608, the policy's limits.maxBodyBytes (without it, Envoy buffers 1 MiB)`,
    ],
  },
  'no body cap on the virtual host': {
    edits: [['                      request_body_buffer_limit: 8388608\n', '']],
    faults: [
      "request_body_buffer_limit is (missing); expected 8388608, the policy's limits.maxBodyBytes (without it, Envoy buffers 1 MiB)",
    ],
  },
  'the body is not sent': {
    edits: [
      [
        '                      with_request_body: { max_request_bytes: 8388608, pack_as_bytes: true }\n',
        '',
      ],
    ],
    faults: [
      "max_request_bytes is (missing); expected 8388608, the policy's limits.maxBodyBytes",
      'pack_as_bytes is (missing); expected true: as text, bytes that are not UTF-8 would be replaced',
    ],
  },
  'a partial body': {
    edits: [['pack_as_bytes: true', 'pack_as_bytes: true, allow_partial_message: true']],
    faults: [
      'allow_partial_message is true; expected false: what Tollgate did not see must not pass',
    ],
  },
  'headers folded into one': {
    edits: [['encode_raw_headers: true', 'encode_raw_headers: false']],
    faults: [
      'encode_raw_headers is false; expected true: Tollgate must see a header that was sent twice',
    ],
  },
  'the route is not chosen again': {
    edits: [['                      clear_route_cache: true\n', '']],
    faults: [
      'clear_route_cache is (missing); expected true: the route is chosen again by the pool that Tollgate names',
    ],
  },
  'ext_authz for a share of the requests': {
    edits: [
      [
        'clear_route_cache: true',
        'clear_route_cache: true\n                      filter_enabled: { default_value: { numerator: 50 } }',
      ],
    ],
    faults: ['filter_enabled is a mapping; expected to be left out: every request is checked'],
  },
  'ext_authz as a shadow': {
    edits: [
      [
        'clear_route_cache: true',
        'clear_route_cache: true\n                      shadow_mode: true',
      ],
    ],
    faults: ['shadow_mode is true; expected false: a refusal must end the request'],
  },
  'an error is a 403': {
    edits: [['                      status_on_error: { code: ServiceUnavailable }\n', '']],
    faults: [
      'code is (missing); expected ServiceUnavailable: clients retry a 503, not the 403 of the default',
    ],
  },
  'a timeout shorter than an examination': {
    edits: [['timeout: 5s', 'timeout: 0.25s']],
    faults: [
      "timeout is 0.25s; expected at least 2s, the policy's limits.examinationTimeoutMs (without it, Envoy waits 200 ms)",
    ],
  },
  'ext_authz is switched off': {
    edits: [['  - name: authz', '  - disabled: true\n                    name: authz']],
    faults: ['disabled is true; expected false: no request goes around Tollgate'],
  },
  'ext_authz is switched off on a route': {
    edits: [['check_settings: { disable_request_body_buffering: true }', 'disabled: true']],
    faults: [
      'disabled is true; expected to be left out: every request is checked, and every stream reports its end',
    ],
  },
  'a route asks with another body cap': {
    edits: [
      [
        'disable_request_body_buffering: true',
        'with_request_body: { max_request_bytes: 10, pack_as_bytes: true }',
      ],
    ],
    faults: ["max_request_bytes is 10; expected 8388608, the policy's limits.maxBodyBytes"],
  },
  'a route that may take a POST asks with part of the body': {
    edits: [['exact: POST }, invert_match: true', 'exact: PUT }, invert_match: true']],
    faults: [
      "max_request_bytes is 1; expected 8388608, the policy's limits.maxBodyBytes",
      'allow_partial_message is true; expected false: what Tollgate did not see must not pass',
    ],
  },
  'no stream end': {
    edits: [[', max_stream_duration: { max_stream_duration: 1800s }', '']],
    faults: [
      "max_stream_duration is (missing); expected at most 1800s, the policy's maxStreamMs: a lease must not end before its stream",
    ],
  },
  'streams longer than their lease': {
    edits: [['1800s', '1801s']],
    faults: [
      "max_stream_duration is 1801s; expected at most 1800s, the policy's maxStreamMs: a lease must not end before its stream",
    ],
  },
  'streams without an end': {
    edits: [['1800s', '0s']],
    faults: [
      "max_stream_duration is 0s; expected at most 1800s, the policy's maxStreamMs: a lease must not end before its stream",
    ],
  },
  'the default route timeout': {
    edits: [['pool-a, timeout: 0s,', 'pool-a,']],
    faults: [
      'timeout is (missing); expected 0s: a long answer is no failure (without it, Envoy ends it after 15 s)',
    ],
  },
  'the silence of other streams': {
    edits: [['pool-a, timeout: 0s, idle_timeout: 600s,', 'pool-a, timeout: 0s,']],
    faults: [
      'idle_timeout is (missing); expected how long a model may be silent, as 600s (without it, stream_idle_timeout cuts a model that thinks)',
    ],
  },
  'retries after the engine began': {
    edits: [
      [
        'pool-a, timeout: 0s,',
        'pool-a, timeout: 0s, retry_policy: { retry_on: "connect-failure, 5xx" },',
      ],
    ],
    faults: [
      'retry_on is "connect-failure, 5xx"; expected only connect-failure and refused-stream: after anything else an engine may have generated already',
    ],
  },
  'retries of the virtual host': {
    edits: [
      ['domains: ["*"]', 'domains: ["*"]\n                      retry_policy: { retry_on: reset }'],
    ],
    faults: [
      'retry_on is reset; expected only connect-failure and refused-stream: after anything else an engine may have generated already',
    ],
  },
  hedging: {
    edits: [
      [
        'pool-a, timeout: 0s,',
        'pool-a, timeout: 0s, hedge_policy: { hedge_on_per_try_timeout: true },',
      ],
    ],
    faults: [
      'hedge_policy is a mapping; expected to be left out: the same request would be generated twice',
    ],
  },
  'a copy to another cluster': {
    edits: [
      [
        'pool-a, timeout: 0s,',
        'pool-a, timeout: 0s, request_mirror_policies: [{ cluster: pool-b }],',
      ],
    ],
    faults: [
      'request_mirror_policies is a list; expected to be left out: what it sends is neither checked nor metered',
    ],
  },
  'a pool without a route': {
    edits: [[poolA, '']],
    faults: [noRouteForA],
  },
  'a pool matched by prefix': {
    edits: [['string_match: { exact: gpu-a }', 'string_match: { prefix: gpu-a }']],
    faults: [
      noRouteForA,
      'routes[1] is a mapping; expected to stand before every route that is not for a pool, so before routes[0]',
    ],
  },
  'a pool that any other value matches': {
    edits: [
      ['string_match: { exact: gpu-a } }', 'string_match: { exact: gpu-a }, invert_match: true }'],
    ],
    faults: [
      noRouteForA,
      'routes[1] is a mapping; expected to stand before every route that is not for a pool, so before routes[0]',
    ],
  },
  'a pool for some paths only': {
    edits: [
      [
        'match: { prefix: /, headers: [{ name: x-tollgate-pool, string_match: { exact: gpu-a',
        'match: { prefix: /v1, headers: [{ name: x-tollgate-pool, string_match: { exact: gpu-a',
      ],
    ],
    faults: [
      noRouteForA,
      'routes[1] is a mapping; expected to stand before every route that is not for a pool, so before routes[0]',
    ],
  },
  'a pool for some callers only': {
    edits: [
      [
        'string_match: { exact: gpu-a } }]',
        'string_match: { exact: gpu-a } }, { name: x-canary }]',
      ],
    ],
    faults: [
      noRouteForA,
      'routes[1] is a mapping; expected to stand before every route that is not for a pool, so before routes[0]',
    ],
  },
  'a pool after the fallback': {
    edits: [
      [poolA, ''],
      [noPool, noPool + poolA],
    ],
    faults: [
      'routes[4] is a mapping; expected to stand before every route that is not for a pool, so before routes[1]',
      'routes[4] is a mapping; expected a last route with the match { prefix: / } alone: without a route, Envoy does not ask Tollgate',
    ],
  },
  'no route for the rest': {
    edits: [[noPool, '']],
    faults: [
      'routes[3] is a mapping; expected a last route with the match { prefix: / } alone: without a route, Envoy does not ask Tollgate',
    ],
  },
  'the fallback leads to a pool': {
    edits: [[noPool, noPool.replace('no-pool', 'pool-a')]],
    faults: [`cluster is pool-a; expected ${onlyByHeader}`],
  },
  'the fallback leads to a pool by weight': {
    edits: [
      [
        noPool,
        noPool.replace(
          'cluster: no-pool',
          'weighted_clusters: { clusters: [{ name: no-pool, weight: 1 }, { name: pool-b, weight: 1 }] }',
        ),
      ],
    ],
    faults: [`name is pool-b; expected ${onlyByHeader}`],
  },
  'the client chooses the cluster': {
    edits: [[noPool, noPool.replace('cluster: no-pool', 'cluster_header: x-tollgate-pool')]],
    faults: [
      'cluster_header is x-tollgate-pool; expected cluster: only Tollgate chooses where a request goes',
    ],
  },
  'the fallback answers by itself': {
    edits: [
      [noPool, noPool.replace('route: { cluster: no-pool }', 'direct_response: { status: 503 }')],
    ],
    faults: [
      'direct_response is a mapping; expected a route to a cluster, if need be one without endpoints: this one would send no report',
    ],
  },
  'a figure of the report is missing': {
    edits: [['descriptor_value: input', 'descriptor_value: inputs']],
    faults: ['rate_limits is a list; expected a descriptor with apply_on_stream_done for input'],
  },
  'a figure is sent too early': {
    edits: [
      [
        'hits_addend: { format: "%RESPONSE_CODE%" }\n                              apply_on_stream_done: true',
        'hits_addend: { format: "%RESPONSE_CODE%" }',
      ],
    ],
    faults: ['rate_limits is a list; expected a descriptor with apply_on_stream_done for end'],
  },
  'a figure under the name of another': {
    edits: [['"%DYNAMIC_METADATA(tollgate.usage:input)%"', '"%BYTES_RECEIVED%"']],
    faults: [
      'format is "%BYTES_RECEIVED%"; expected %DYNAMIC_METADATA(tollgate.usage:input)%, which is what input means',
    ],
  },
  'a figure sent twice, once from elsewhere': {
    edits: [
      [
        'rate_limits:\n',
        `rate_limits:
                            - actions: [{ metadata: { descriptor_key: reservation } }, { generic_key: { descriptor_key: report, descriptor_value: end } }]
                              hits_addend: { format: "%DURATION%" }
                              apply_on_stream_done: true
`,
      ],
    ],
    faults: ['format is "%DURATION%"; expected %RESPONSE_CODE%, which is what end means'],
  },
  'no report on one route': {
    edits: [
      [
        'typed_per_filter_config:\n                            authz:',
        'typed_per_filter_config:\n                            report: { "@type": x.RateLimitPerRoute, rate_limits: [] }\n                            authz:',
      ],
    ],
    faults: [
      'report is a mapping; expected a RateLimitPerRoute with the report (input, end): nothing else ends a reservation',
    ],
  },
  'another rate limit filter under the name of the report': {
    edits: [
      [
        '                  - name: report',
        '                  - { name: report, typed_config: { "@type": x.RateLimit, domain: edge } }\n                  - name: report',
      ],
    ],
    faults: [
      "name is report; expected a name of its own: what routes say under report is the report's, and would replace the rate_limits of this one",
    ],
  },
  'the report goes to another domain': {
    edits: [['domain: tollgate', 'domain: edge']],
    faults: [
      'domain is edge; expected exactly one rate limit filter with the domain tollgate: it sends the report that ends a reservation',
    ],
  },
  'the report goes to another service': {
    edits: [
      [
        'rate_limit_service: { grpc_service: { envoy_grpc: { cluster_name: tollgate',
        'rate_limit_service: { grpc_service: { envoy_grpc: { cluster_name: pool-a',
      ],
    ],
    faults: [
      'cluster_name is pool-a; expected tollgate, the cluster that ext_authz asks: it holds the reservation',
      'typed_extension_protocol_options is (missing); expected HttpProtocolOptions with explicit_http_config.http2_protocol_options: Tollgate speaks gRPC',
    ],
  },
  'a cluster that is nowhere': {
    edits: [
      [
        'envoy_grpc: { cluster_name: tollgate }, timeout',
        'envoy_grpc: { cluster_name: tollgat }, timeout',
      ],
    ],
    faults: [
      'cluster_name is tollgat; expected a cluster of this file: pool-a, pool-b, no-pool, tollgate',
      'cluster_name is tollgate; expected tollgat, the cluster that ext_authz asks: it holds the reservation',
    ],
  },
  'Tollgate asked over HTTP/1': {
    edits: [
      [
        'explicit_http_config: { http2_protocol_options: {} }',
        'explicit_http_config: { http_protocol_options: {} }',
      ],
    ],
    faults: [
      'typed_extension_protocol_options is a mapping; expected HttpProtocolOptions with explicit_http_config.http2_protocol_options: Tollgate speaks gRPC',
    ],
  },
  "a client's internal headers": {
    edits: [[', { remove: X-Tollgate-Tenant }', '']],
    faults: [
      'early_header_mutation_extensions is a list; expected a header mutation that removes x-tollgate-tenant',
    ],
  },
  'compressed answers': {
    edits: [['                      request_headers_to_remove: [accept-encoding]\n', '']],
    faults: [
      'request_headers_to_remove is (missing); expected accept-encoding in it: usage cannot be read out of a compressed answer',
    ],
  },
  'other origins': {
    edits: [
      [
        '{ exact: "https://app.example" }',
        '{ exact: "https://app.example" }, { exact: "https://evil.example" }',
      ],
    ],
    faults: [
      "allow_origin_string_match is https://app.example, https://evil.example; expected exactly the policy's cors.origins: https://app.example",
    ],
  },
  'origins by pattern': {
    edits: [['{ exact: "https://app.example" }', '{ prefix: "https://app.example" }']],
    faults: [
      "allow_origin_string_match is (a matcher that is not exact); expected exactly the policy's cors.origins: https://app.example",
    ],
  },
  'preflights reach Tollgate': {
    edits: [
      [
        '                  - name: cors\n                    typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors }\n',
        '',
      ],
    ],
    faults: [
      "typed_per_filter_config is a mapping; expected a CorsPolicy that allows exactly the policy's cors.origins: https://app.example",
      'http_filters is a list; expected the cors filter before ext_authz, since the policy has cors.origins',
    ],
  },
  'a copy to another cluster for every route of the virtual host': {
    edits: [
      [
        'domains: ["*"]',
        'domains: ["*"]\n                      request_mirror_policies: [{ cluster: pool-b }]',
      ],
    ],
    faults: [
      'request_mirror_policies is a list; expected to be left out: what it sends is neither checked nor metered',
    ],
  },
  'a copy to another cluster for every virtual host': {
    edits: [
      [
        'route_config:\n',
        'route_config:\n                  request_mirror_policies: [{ cluster: pool-b }]\n',
      ],
    ],
    faults: [
      'request_mirror_policies is a list; expected to be left out: what it sends is neither checked nor metered',
    ],
  },
  'a copy of what has no pool': {
    edits: [
      [
        noPool,
        noPool.replace('no-pool', 'no-pool, request_mirror_policies: [{ cluster: pool-b }]'),
      ],
    ],
    faults: [
      'request_mirror_policies is a list; expected to be left out: what it sends is neither checked nor metered',
    ],
  },
  'ext_authz is switched off on a route, inside a wrapper': {
    edits: [
      [
        poolA,
        `${poolA}                          typed_per_filter_config: { authz: { "@type": x.FilterConfig, config: { "@type": x.ExtAuthzPerRoute, disabled: true } } }\n`,
      ],
    ],
    faults: [alwaysOn],
  },
  'ext_authz is switched off on a route by the wrapper': {
    edits: [
      [
        poolA,
        `${poolA}                          typed_per_filter_config: { authz: { "@type": x.FilterConfig, disabled: true } }\n`,
      ],
    ],
    faults: [alwaysOn],
  },
  'ext_authz is switched off for a part of the traffic': {
    edits: [
      [
        noPool,
        noPool.replace(
          'cluster: no-pool',
          'weighted_clusters: { clusters: [{ name: no-pool, weight: 1, typed_per_filter_config: { authz: { "@type": x.ExtAuthzPerRoute, disabled: true } } }] }',
        ),
      ],
    ],
    faults: [alwaysOn],
  },
  'ext_authz is switched off on the virtual host': {
    edits: [
      [
        'typed_per_filter_config:\n                        cors:',
        'typed_per_filter_config:\n                        authz: { "@type": x.ExtAuthzPerRoute, disabled: true }\n                        cors:',
      ],
    ],
    faults: [alwaysOn],
  },
  'a route asks another service': {
    edits: [
      [
        'disable_request_body_buffering: true',
        'grpc_service: { envoy_grpc: { cluster_name: pool-b } }',
      ],
    ],
    faults: ['grpc_service is a mapping; expected to be left out: Tollgate alone is asked'],
  },
  'ext_authz is switched off for all virtual hosts': {
    edits: [
      [
        'route_config:\n',
        'route_config:\n                  typed_per_filter_config: { authz: { "@type": x.ExtAuthzPerRoute, disabled: true } }\n',
      ],
    ],
    faults: [alwaysOn],
  },
  'a route asks another service over HTTP': {
    edits: [['disable_request_body_buffering: true', 'http_service: { path_prefix: /ok }']],
    faults: ['http_service is a mapping; expected to be left out: Tollgate alone is asked'],
  },
  'origins by pattern for a part of the traffic': {
    edits: [
      [
        noPool,
        noPool.replace(
          'cluster: no-pool',
          'weighted_clusters: { clusters: [{ name: no-pool, weight: 1, typed_per_filter_config: { cors: { "@type": x.CorsPolicy, allow_origin_string_match: [{ prefix: "https://" }] } } }] }',
        ),
      ],
    ],
    faults: [
      "allow_origin_string_match is (a matcher that is not exact); expected exactly the policy's cors.origins: https://app.example",
    ],
  },
  'the report is switched off in the filter chain': {
    edits: [['  - name: report', '  - disabled: true\n                    name: report']],
    faults: ['disabled is true; expected false: no request goes around Tollgate'],
  },
  'the report is switched off on a route by a wrapper': {
    edits: [
      [
        poolA,
        `${poolA}                          typed_per_filter_config: { report: { "@type": x.FilterConfig, disabled: true } }\n`,
      ],
    ],
    faults: [alwaysOn],
  },
  ...Object.fromEntries(
    ['put-in-the-cap', 'ask-for-usage', 'sse-usage', 'json-usage'].flatMap(
      (name): [string, Case][] => [
        [
          `${name} is switched off`,
          {
            edits: [
              meteringFilters,
              [`  - name: ${name}`, `  - disabled: true\n                    name: ${name}`],
            ],
            faults: ['disabled is true; expected false: no request goes around Tollgate'],
          },
        ],
        [
          `${name} is switched off on a route`,
          {
            edits: [
              meteringFilters,
              [
                poolA,
                `${poolA}                          typed_per_filter_config: { ${name}: { "@type": x.FilterConfig, disabled: true } }\n`,
              ],
            ],
            faults: [alwaysOn],
          },
        ],
      ],
    ),
  ),
  'origins by pattern on a route': {
    edits: [
      [
        poolA,
        `${poolA}                          typed_per_filter_config: { cors: { "@type": x.CorsPolicy, allow_origin_string_match: [{ prefix: "https://" }] } }\n`,
      ],
    ],
    faults: [
      "allow_origin_string_match is (a matcher that is not exact); expected exactly the policy's cors.origins: https://app.example",
    ],
  },
  'origins by pattern on a route, in the older field': {
    edits: [
      [
        'pool-a, timeout: 0s,',
        'pool-a, timeout: 0s, cors: { allow_origin_string_match: [{ prefix: "https://" }] },',
      ],
    ],
    faults: [
      "allow_origin_string_match is (a matcher that is not exact); expected exactly the policy's cors.origins: https://app.example",
    ],
  },
  'ext_authz by metadata': {
    edits: [
      [
        'clear_route_cache: true',
        'clear_route_cache: true\n                      filter_enabled_metadata: { filter: x }',
      ],
    ],
    faults: [
      'filter_enabled_metadata is a mapping; expected to be left out: every request is checked',
    ],
  },
  'ext_authz where it happens to be built in': {
    edits: [['  - name: authz', '  - is_optional: true\n                    name: authz']],
    faults: ['is_optional is true; expected false: no request goes around Tollgate'],
  },
  'preflights reach Tollgate first': {
    edits: [
      [corsFilter, ''],
      ['                  - name: router\n', `${corsFilter}                  - name: router\n`],
    ],
    faults: [
      'http_filters is a list; expected the cors filter before ext_authz, since the policy has cors.origins',
    ],
  },
  'a plug-in chooses the cluster': {
    edits: [
      [
        noPool,
        noPool.replace('cluster: no-pool', 'inline_cluster_specifier_plugin: { extension: {} }'),
      ],
    ],
    faults: [
      'inline_cluster_specifier_plugin is a mapping; expected cluster: only Tollgate chooses where a request goes',
    ],
  },
  'a named plug-in chooses the cluster': {
    edits: [[noPool, noPool.replace('cluster: no-pool', 'cluster_specifier_plugin: lua')]],
    faults: [
      'cluster_specifier_plugin is lua; expected cluster: only Tollgate chooses where a request goes',
    ],
  },
  'a part of the traffic chooses its cluster': {
    edits: [
      [
        noPool,
        noPool.replace(
          'cluster: no-pool',
          'weighted_clusters: { clusters: [{ cluster_header: x-where, weight: 1 }] }',
        ),
      ],
    ],
    faults: [
      'cluster_header is x-where; expected cluster: only Tollgate chooses where a request goes',
    ],
  },
  'an answer of the engine sends the request on': {
    edits: [
      [
        'pool-a, timeout: 0s,',
        'pool-a, timeout: 0s, internal_redirect_policy: { max_internal_redirects: 1 },',
      ],
    ],
    faults: [
      'internal_redirect_policy is a mapping; expected to be left out: what it sends is neither checked nor metered',
    ],
  },
  ...Object.fromEntries(
    [
      ['filter_action', 'a filter answers the rest'],
      ['redirect', 'the rest is sent elsewhere'],
    ].map(([name = '', what = '']): [string, Case] => [
      what,
      {
        edits: [[noPool, noPool.replace('route: { cluster: no-pool }', `${name}: { x: 1 }`)]],
        faults: [
          `${name} is a mapping; expected a route to a cluster, if need be one without endpoints: this one would send no report`,
        ],
      },
    ]),
  ),
  'the report of a route goes to another domain': {
    edits: [
      [
        '"@type": type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimitPerRoute',
        '"@type": x.RateLimitPerRoute\n                          domain: edge',
      ],
    ],
    faults: ['domain is edge; expected tollgate'],
  },
  'a pool in any case': {
    edits: [
      ['string_match: { exact: gpu-a }', 'string_match: { exact: gpu-a, ignore_case: true }'],
    ],
    faults: [
      noRouteForA,
      'routes[1] is a mapping; expected to stand before every route that is not for a pool, so before routes[0]',
    ],
  },
  'a cluster by weight that is nowhere': {
    edits: [
      [
        noPool,
        noPool.replace(
          'cluster: no-pool',
          'weighted_clusters: { clusters: [{ name: no-pol, weight: 1 }] }',
        ),
      ],
    ],
    faults: ['name is no-pol; expected a cluster of this file: pool-a, pool-b, no-pool, tollgate'],
  },
  'no ext_authz at all': {
    edits: [
      [
        'ext_authz.v3.ExtAuthz\n                      grpc',
        'lua.v3.Lua\n                      grpc',
      ],
    ],
    faults: ['file expected an HTTP connection manager with the ext_authz filter'],
  },
}

describe("Envoy's configuration", () => {
  test('agrees with the policy', () => {
    expect(faultsOf(agrees)).toEqual([])
  })

  test.each(Object.entries(cases))('is refused: %s', (_, { edits, faults }) => {
    expect(faultsOf(edited(edits))).toEqual(faults)
  })

  test('may spell fields in the other way of protobuf', () => {
    const text = agrees
      .replace('max_request_bytes', 'maxRequestBytes')
      .replace('clear_route_cache', 'clearRouteCache')
      .replaceAll('apply_on_stream_done', 'applyOnStreamDone')
      .replace('http_filters', 'httpFilters')
    expect(faultsOf(text)).toEqual([])
  })

  test('names file, line and the whole way to the key', () => {
    const faults = checkEnvoyFile('envoy.yaml', agrees.replace('1800s', '1801s'), terms, wire)
    expect(faults.map(({ file, line, key }) => ({ file, line, key }))).toEqual([
      {
        file: 'envoy.yaml',
        line: 37,
        key: 'static_resources.listeners[0].filter_chains[0].filters[0].typed_config.route_config.virtual_hosts[0].routes[0].route.max_stream_duration.max_stream_duration',
      },
    ])
  })

  /** A second listener, with one network filter. */
  const withListener = (filter: string): string =>
    agrees.replace(
      '\n  clusters:',
      `\n    - filter_chains: [{ filters: [{ typed_config: ${filter} }] }]\n  clusters:`,
    )
  const httpTo = (action: string): string =>
    `{ "@type": x.HttpConnectionManager, route_config: { virtual_hosts: [{ name: pool-b, routes: [{ match: { prefix: / }, route: ${action} }] }] } }`
  const noGuard = 'no GPU pool, since no ext_authz filter stands before it'
  const choice = 'a cluster by its name, since no ext_authz filter stands before it'

  test.each<[string, string, string]>([
    ['HTTP', httpTo('{ cluster: pool-b }'), `cluster is pool-b; expected ${noGuard}`],
    [
      'HTTP by weight',
      httpTo('{ weighted_clusters: { clusters: [{ name: no-pool }, { name: pool-b }] } }'),
      `name is pool-b; expected ${noGuard}`,
    ],
    [
      'a copy',
      httpTo('{ cluster: no-pool, request_mirror_policies: [{ cluster: pool-b }] }'),
      `cluster is pool-b; expected ${noGuard}`,
    ],
    [
      'what a client names in a header',
      httpTo('{ cluster_header: x-where }'),
      `cluster_header is x-where; expected ${choice}`,
    ],
    [
      'what a plug-in names',
      httpTo('{ cluster_specifier_plugin: lua }'),
      `cluster_specifier_plugin is lua; expected ${choice}`,
    ],
    ['TCP', '{ "@type": x.TcpProxy, cluster: pool-b }', `cluster is pool-b; expected ${noGuard}`],
    [
      'TCP by weight',
      '{ "@type": x.TcpProxy, weightedClusters: { clusters: [{ name: pool-b, weight: 1 }] } }',
      `name is pool-b; expected ${noGuard}`,
    ],
    [
      'what a client names in its handshake',
      '{ "@type": x.SniCluster }',
      `typed_config is a mapping; expected to be left out: ${choice}`,
    ],
    [
      'another protocol',
      '{ "@type": x.RedisProxy, prefix_routes: { catch_all_route: { cluster: pool-b } } }',
      `cluster is pool-b; expected ${noGuard}`,
    ],
  ])('must not lead to a pool from a listener without ext_authz: %s', (_, filter, fault) => {
    expect(faultsOf(withListener(filter))).toEqual([fault])
  })

  const aggregate = (name: string, ...members: readonly string[]): string =>
    `\n  clusters:\n    - { name: ${name}, cluster_type: { typed_config: { "@type": x.ClusterConfig, clusters: [${members.join(', ')}] } } }`

  test('must not lead to a pool through clusters that are made of others', () => {
    const text = withListener('{ "@type": x.TcpProxy, cluster: both }')
      .replace('\n  clusters:', aggregate('both', 'no-pool', 'inner'))
      .replace('\n  clusters:', aggregate('inner', '{ name: pool-b }'))
      .replace(noPool, noPool.replace('no-pool', 'inner'))
    expect(faultsOf(text)).toEqual([
      `cluster is inner; expected ${onlyByHeader}`,
      `cluster is both; expected ${noGuard}`,
    ])
  })

  test('must not lead to a part of a pool that is made of others', () => {
    const text = withListener('{ "@type": x.TcpProxy, cluster: pool-b }')
      .replace('\n  clusters:', aggregate('pools', 'pool-b'))
      .replace('route: { cluster: pool-b', 'route: { cluster: pools')
    expect(faultsOf(text)).toEqual([`cluster is pool-b; expected ${noGuard}`])
  })

  test('may lead elsewhere from a listener without ext_authz', () => {
    expect(faultsOf(withListener(httpTo('{ cluster: no-pool }')))).toEqual([])
    expect(
      faultsOf(withListener('{ "@type": x.TcpProxy, stat_prefix: pool-b, cluster: no-pool }')),
    ).toEqual([])
  })

  test.each<[string, readonly (readonly [string, string])[]]>([
    ['503 as a number', [['code: ServiceUnavailable', 'code: 503']]],
    [
      'clusters that also come over xDS',
      [
        ['static_resources:', 'dynamic_resources: { cds_config: { ads: {} } }\nstatic_resources:'],
        ['\n    - name: pool-b\n', '\n'],
      ],
    ],
    [
      'the older field for HTTP/2 to Tollgate',
      [
        [
          agrees.slice(agrees.indexOf('      typed_extension_protocol_options')),
          '      http2_protocol_options: {}\n',
        ],
      ],
    ],
    [
      'settings of a route in a wrapper',
      [
        [
          'report:\n                          "@type": type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimitPerRoute\n                          rate_limits:',
          'report:\n                         "@type": x.FilterConfig\n                         config:\n                          "@type": x.RateLimitPerRoute\n                          rate_limits:',
        ],
      ],
    ],
    [
      'a route whose cors policy says nothing of origins',
      [
        [
          poolA,
          `${poolA}                          typed_per_filter_config: { cors: { "@type": x.CorsPolicy, max_age: "60" } }\n`,
        ],
      ],
    ],
  ])('may say %s', (_, edits) => {
    expect(faultsOf(edited(edits))).toEqual([])
  })

  test('has a route for the pool of every path, also of one that serves no model', () => {
    const text = `${smallest}paths: [{ path: /health, method: GET, pool: gpu-c }]\n`
    const { pools } = readPolicy('policy.yaml', text).envoyTerms
    expect(faultsOf(agrees, { ...terms, pools })).toEqual([
      'routes is a list; expected a route for the pool gpu-c of the policy: prefix / and x-tollgate-pool exactly gpu-c',
    ])
  })

  test('has every origin of the policy, not one of them twice', () => {
    const twice = edited([
      [
        '{ exact: "https://app.example" }',
        '{ exact: "https://app.example" }, { exact: "https://app.example" }',
      ],
    ])
    const corsOrigins = ['https://app.example', 'https://chat.example']
    expect(faultsOf(twice, { ...terms, corsOrigins })).toEqual([
      "allow_origin_string_match is https://app.example, https://app.example; expected exactly the policy's cors.origins: https://app.example, https://chat.example",
    ])
  })

  test('has no origins when the policy has none', () => {
    expect(faultsOf(agrees, { ...terms, corsOrigins: [] })).toEqual([
      'allow_origin_string_match is https://app.example; expected none, since the policy has no cors.origins',
    ])
  })
})

test('the envoy.yaml of this repository agrees with the policy of the demo', () => {
  const root = new URL('../../', import.meta.url)
  const { envoyTerms: demo } = readPolicyFile(
    fileURLToPath(new URL('deploy/demo/policy.yaml', root)),
  )
  const text = readFileSync(new URL('envoy.yaml', root), 'utf8')
  const faults = checkEnvoyFile('envoy.yaml', text, demo, {
    reservedHeaders,
    poolHeader: internalHeaders.pool,
    reportDomain,
    reportNames,
  })
  expect(faults).toEqual([])
})

test('every figure of the report has one place where Envoy takes it from', () => {
  expect([...reportFormats.keys()].sort()).toEqual([...reportNames].sort())
})
