/**
 * The messages of `proto/` as proto-loader decodes and encodes them (`protos.ts` has the options): names in
 * camel case, and a field that was not sent is missing.
 */

/** `google.protobuf.Timestamp` */
export interface Timestamp {
  readonly seconds?: number
  readonly nanos?: number
}

/** `envoy.config.core.v3.HeaderValue`; Envoy sends `rawValue` and reads `value`. */
export interface HeaderValue {
  readonly key?: string
  readonly value?: string
  readonly rawValue?: Buffer
}

/** `envoy.service.auth.v3.AttributeContext.HttpRequest` */
export interface HttpRequest {
  readonly id?: string
  readonly method?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly path?: string
  readonly body?: string
  readonly rawBody?: Buffer
  readonly headerMap?: { readonly headers?: readonly HeaderValue[] }
}

/** `envoy.service.auth.v3.AttributeContext` */
export interface AttributeContext {
  readonly source?: { readonly principal?: string }
  readonly request?: { readonly time?: Timestamp; readonly http?: HttpRequest }
  readonly contextExtensions?: Readonly<Record<string, string>>
}

/** `envoy.service.auth.v3.CheckRequest` */
export interface CheckRequest {
  readonly attributes?: AttributeContext
}

/** `envoy.config.core.v3.HeaderValueOption`, always with both ways to say how (see `setHeader`). */
export interface HeaderValueOption {
  readonly header: { readonly key: string; readonly value: string }
  readonly append: { readonly value: false }
  readonly appendAction: 'OVERWRITE_IF_EXISTS_OR_ADD'
}

/** `google.protobuf.Value`, as far as Tollgate writes it. */
export type StructValue = { readonly stringValue: string } | { readonly numberValue: number }

/** `google.protobuf.Struct` */
export interface Struct {
  readonly fields: Readonly<Record<string, StructValue>>
}

/** `envoy.service.auth.v3.DeniedHttpResponse` */
export interface DeniedHttpResponse {
  readonly status: { readonly code: number }
  readonly headers: readonly HeaderValueOption[]
  readonly body: string
}

/** `envoy.service.auth.v3.OkHttpResponse` */
export interface OkHttpResponse {
  readonly headers: readonly HeaderValueOption[]
  readonly headersToRemove: readonly string[]
  readonly responseHeadersToAdd: readonly HeaderValueOption[]
}

/** `envoy.service.auth.v3.CheckResponse`; the union leaves no way to answer without a status. */
export type CheckResponse =
  | {
      readonly status: { readonly code: 0 }
      readonly okResponse: OkHttpResponse
      readonly dynamicMetadata: Struct
    }
  | {
      readonly status: { readonly code: DenialCode }
      readonly deniedResponse: DeniedHttpResponse
      readonly dynamicMetadata: Struct
    }

/** The codes of `google.rpc.Code` that a denial carries. */
export type DenialCode = 3 | 5 | 7 | 8 | 12 | 14 | 16

/** `envoy.extensions.common.ratelimit.v3.RateLimitDescriptor` */
export interface RateLimitDescriptor {
  readonly entries?: readonly { readonly key?: string; readonly value?: string }[]
  /** Zero differs from absent. */
  readonly hitsAddend?: { readonly value?: number }
}

/** `envoy.service.ratelimit.v3.RateLimitRequest` */
export interface RateLimitRequest {
  readonly domain?: string
  readonly descriptors?: readonly RateLimitDescriptor[]
}

/** `envoy.service.ratelimit.v3.RateLimitResponse`; UNKNOWN, which Envoy lets pass, cannot be said. */
export interface RateLimitResponse {
  readonly overallCode: 'OK' | 'OVER_LIMIT'
  readonly statuses: readonly { readonly code: 'OK' | 'OVER_LIMIT' }[]
}
