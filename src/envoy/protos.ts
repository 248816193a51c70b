import { fileURLToPath } from 'node:url'
import type { MethodDefinition, ServiceDefinition } from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'
import type { PackageDefinition } from '@grpc/proto-loader'
import { encodeCheckResponse } from './encode-check-response.js'
import type { CheckRequest, CheckResponse, RateLimitRequest, RateLimitResponse } from './wire.js'

/** `proto/` lies beside `src/` and beside `dist/` alike. */
const protoDirectory = fileURLToPath(new URL('../../proto/', import.meta.url))

const files = ['envoy/service/auth/v3/external_auth.proto', 'envoy/service/ratelimit/v3/rls.proto']

/**
 * Reads `proto/`. What the options leave out is what makes decoding cheap and presence visible:
 * - no defaults: a field that was not sent is undefined, so absent differs from empty or zero;
 * - 64-bit integers as numbers: exact up to 2^53 - 1, and whoever reads one refuses more;
 * - bytes as views into the received message, not as copies.
 */
export function loadProtos(): PackageDefinition {
  return loadSync(files, { includeDirs: [protoDirectory], longs: Number })
}

/** `envoy.service.auth.v3.Authorization`, for grpc-js; its messages are those of `wire.ts`. */
export interface AuthorizationService extends ServiceDefinition {
  readonly Check: MethodDefinition<CheckRequest, CheckResponse>
}

/** `envoy.service.ratelimit.v3.RateLimitService`, for grpc-js; its messages are those of `wire.ts`. */
export interface RateLimitServiceDefinition extends ServiceDefinition {
  readonly ShouldRateLimit: MethodDefinition<RateLimitRequest, RateLimitResponse>
}

const loaded = loadProtos()

export const authorizationServiceName = 'envoy.service.auth.v3.Authorization'
export const rateLimitServiceName = 'envoy.service.ratelimit.v3.RateLimitService'

// proto-loader describes services without the types of their messages; wire.ts has them, and
// test/envoy/protos.test.ts holds wire.ts against the protos.
const generalAuthorization = loaded[authorizationServiceName] as unknown as AuthorizationService
export const authorizationService: AuthorizationService = {
  Check: { ...generalAuthorization.Check, responseSerialize: encodeCheckResponse },
}
// The same cast for the same reason.
export const rateLimitService = loaded[
  rateLimitServiceName
] as unknown as RateLimitServiceDefinition
