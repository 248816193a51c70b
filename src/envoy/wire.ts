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

/** `google.protobuf.Value`, as a rate limit file can make it say. */
export type AnyValue =
  | StructValue
  | { readonly nullValue: 'NULL_VALUE' }
  | { readonly boolValue: boolean }
  | { readonly structValue: AnyStruct }
  | { readonly listValue: { readonly values: readonly AnyValue[] } }

/** `google.protobuf.Struct` of such values. */
export interface AnyStruct {
  readonly fields: Readonly<Record<string, AnyValue>>
}

/** `envoy.extensions.common.ratelimit.v3.RateLimitDescriptor.RateLimitOverride` */
export interface RateLimitOverride {
  readonly requestsPerUnit?: number
  /** `envoy.type.v3.RateLimitUnit` */
  readonly unit?: number
  readonly unitMultiplier?: { readonly value?: number }
}

/** `envoy.extensions.common.ratelimit.v3.RateLimitDescriptor` */
export interface RateLimitDescriptor {
  readonly entries?: readonly { readonly key?: string; readonly value?: string }[]
  readonly limit?: RateLimitOverride
  /** Zero differs from absent. From 2^53 on it is the nearest double. */
  readonly hitsAddend?: { readonly value?: number }
  readonly isNegativeHits?: boolean
}

/** `envoy.service.ratelimit.v3.RateLimitRequest` */
export interface RateLimitRequest {
  readonly domain?: string
  readonly descriptors?: readonly RateLimitDescriptor[]
  readonly hitsAddend?: number
}

/** UNKNOWN, which Envoy lets pass, cannot be said. */
type RateLimitCode = 'OK' | 'OVER_LIMIT'

/** `envoy.service.ratelimit.v3.RateLimitResponse.RateLimit.Unit` */
export type RateLimitUnitName = 'SECOND' | 'MINUTE' | 'HOUR' | 'DAY' | 'MONTH' | 'YEAR' | 'WEEK'

/** `envoy.service.ratelimit.v3.RateLimitResponse.DescriptorStatus` */
export interface DescriptorStatus {
  readonly code: RateLimitCode
  readonly currentLimit?: {
    readonly requestsPerUnit: number
    readonly unit: RateLimitUnitName
    readonly name?: string
  }
  readonly limitRemaining?: number
  readonly durationUntilReset?: { readonly seconds: number }
}

/** `envoy.service.ratelimit.v3.RateLimitResponse` */
export interface RateLimitResponse {
  readonly overallCode: RateLimitCode
  readonly statuses: readonly DescriptorStatus[]
  readonly responseHeadersToAdd?: readonly { readonly key: string; readonly value: string }[]
  readonly dynamicMetadata?: AnyStruct
}
