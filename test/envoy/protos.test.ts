import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import protobuf from 'protobufjs'
import { describe, expect, it, test } from 'vitest'
import { denialStatus } from '../../src/denial.js'
import { authorizationService, rateLimitService } from '../../src/envoy/protos.js'
import type {
  CheckRequest,
  CheckResponse,
  RateLimitRequest,
  RateLimitResponse,
} from '../../src/envoy/wire.js'

/**
 * What Envoy's own API says in the release that the tests run, out of go-control-plane v1.40.0 by
 * `test/fixtures/envoy/descriptors/main.go`: every field of `proto/` is in it, also those that are younger than the
 * files which a package publishes.
 */
const official = JSON.parse(
  readFileSync(
    fileURLToPath(new URL('../fixtures/envoy/descriptors/official.json', import.meta.url)),
    'utf8',
  ),
) as Record<'services' | 'messages' | 'enums', Record<string, Record<string, string>>>

const root = loadRoot(['proto/'])

/** Envoy's API as gRPC's own xDS client ships it; that package is here for these files alone. */
const published = loadRoot(
  ['envoy-api', 'xds', 'googleapis', 'protoc-gen-validate'].map(
    (part) => `node_modules/@grpc/grpc-js-xds/deps/${part}/`,
  ),
)

/** Fields of Envoy's API that are younger than the published files, with the release of Envoy that brought them. */
const younger: Readonly<Record<string, string>> = {
  'envoy.extensions.common.ratelimit.v3.RateLimitDescriptor.hits_addend': '1.33',
  'envoy.extensions.common.ratelimit.v3.RateLimitDescriptor.is_negative_hits': '1.38',
  'envoy.extensions.common.ratelimit.v3.RateLimitDescriptor.RateLimitOverride.unit_multiplier':
    'at the latest 1.40',
}

/** Both services and all that they refer to, each file from the first of `directories` that has it. */
function loadRoot(directories: readonly string[]): protobuf.Root {
  const loaded = new protobuf.Root()
  const resolve = loaded.resolvePath.bind(loaded)
  loaded.resolvePath = (origin, target) =>
    directories
      .map((directory) => fileURLToPath(new URL(`../../${directory}${target}`, import.meta.url)))
      .find((file) => existsSync(file)) ?? resolve(origin, target)
  loaded.loadSync(
    ['envoy/service/auth/v3/external_auth.proto', 'envoy/service/ratelimit/v3/rls.proto'],
    { keepCase: true },
  )
  loaded.resolveAll()
  return loaded
}

function* objectsIn(namespace: protobuf.NamespaceBase): Generator<protobuf.ReflectionObject> {
  for (const object of namespace.nestedArray) {
    yield object
    if (object instanceof protobuf.Namespace) yield* objectsIn(object)
  }
}

const objects = [...objectsIn(root)]
const nameOf = (object: protobuf.ReflectionObject): string => object.fullName.slice(1)

/** The words of `official.json`. */
function describeField(field: protobuf.Field): string {
  const type = field.resolvedType === null ? field.type : nameOf(field.resolvedType)
  const label =
    field instanceof protobuf.MapField
      ? `map<${field.keyType}, ${type}>`
      : `${field.repeated ? 'repeated ' : ''}${type}`
  const oneof = field.partOf === null ? '' : ` in ${field.partOf.name}`
  return `${String(field.id)} ${label}${oneof}`
}

function snakeCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
}

describe('proto/ against the descriptors of Envoy 1.40', () => {
  // protobufjs brings more of google.protobuf than is imported; only what Envoy's API refers to is compared.
  const messages = objects
    .filter((object) => object instanceof protobuf.Type)
    .filter(
      (type) => !nameOf(type).startsWith('google.protobuf.') || nameOf(type) in official.messages,
    )
  const fields = messages.flatMap((type) =>
    type.fieldsArray.map((field) => ({
      field: `${nameOf(type)}.${field.name}`,
      described: describeField(field),
      // protobufjs ships google.protobuf.* with its names in camel case; names are not on the wire.
      expected: official.messages[nameOf(type)]?.[snakeCase(field.name)],
    })),
  )

  it('covers every message that is read or written', () => {
    expect(messages.map(nameOf)).toEqual(
      expect.arrayContaining([
        'envoy.service.auth.v3.CheckRequest',
        'envoy.service.auth.v3.AttributeContext.HttpRequest',
        'envoy.service.auth.v3.CheckResponse',
        'envoy.config.core.v3.HeaderValueOption',
        'envoy.service.ratelimit.v3.RateLimitRequest',
        'envoy.extensions.common.ratelimit.v3.RateLimitDescriptor.Entry',
        'envoy.service.ratelimit.v3.RateLimitResponse.DescriptorStatus',
        'google.protobuf.Struct',
        'google.protobuf.UInt64Value',
        'google.rpc.Status',
      ]),
    )
    expect(fields.length).toBeGreaterThan(50)
  })

  test.each(fields)('$field has its number, label and type', ({ described, expected }) => {
    expect(described).toBe(expected)
  })

  const enums = objects
    .filter((object) => object instanceof protobuf.Enum)
    .filter(
      (object) =>
        !nameOf(object).startsWith('google.protobuf.') || nameOf(object) in official.enums,
    )

  test.each(enums.map((object) => ({ name: nameOf(object), values: object.values })))(
    '$name has its numbers',
    ({ name, values }) => {
      expect(Object.keys(values)).not.toEqual([])
      for (const [value, number] of Object.entries(values)) {
        expect(`${value} ${String(number)}`).toBe(`${value} ${official.enums[name]?.[value] ?? ''}`)
      }
    },
  )

  const services = objects.filter((object) => object instanceof protobuf.Service)

  it('has both services with their methods', () => {
    const described = services.map((service) => [
      nameOf(service),
      Object.fromEntries(
        service.methodsArray.map((method) => [
          method.name,
          `${method.requestStream === true ? 'stream ' : ''}${nameOf(method.resolvedRequestType as protobuf.Type)} -> ${
            method.responseStream === true ? 'stream ' : ''
          }${nameOf(method.resolvedResponseType as protobuf.Type)}`,
        ]),
      ),
    ])
    expect(Object.fromEntries(described)).toEqual(official.services)
  })

  it('names every status that a refusal can have', () => {
    const statuses = root.lookupEnum('envoy.type.v3.StatusCode').valuesById
    for (const status of Object.values(denialStatus))
      expect(statuses).toHaveProperty(String(status))
  })
})

describe('proto/ against the files of Envoy that a package publishes', () => {
  // protobufjs has its own google.protobuf for both sides.
  const fields = objects
    .filter((object) => object instanceof protobuf.Type)
    .flatMap((type) => type.fieldsArray)
    .filter((field) => !nameOf(field).startsWith('google.protobuf.'))

  it('compares fields', () => {
    expect(fields.length).toBeGreaterThan(30)
    expect(fields.map(nameOf)).toEqual(expect.arrayContaining(Object.keys(younger)))
  })

  test.each(fields.map((field) => ({ name: nameOf(field), field })))(
    '$name has its number, label and type',
    ({ name, field }) => {
      const theirs = published.lookup(name)
      if (name in younger) {
        expect(theirs, 'published by now: take it from the list').toBeNull()
        return
      }
      expect(theirs).toBeInstanceOf(protobuf.Field)
      expect(describeField(field)).toBe(describeField(theirs as protobuf.Field))
    },
  )
})

describe('the types of wire.ts', () => {
  const Check = authorizationService.Check
  const ShouldRateLimit = rateLimitService.ShouldRateLimit

  it('describe a decoded CheckRequest', () => {
    const request: Required<CheckRequest> = {
      attributes: {
        source: { principal: 'spiffe://example.org/client' },
        request: {
          time: { seconds: 1_700_000_000, nanos: 5 },
          http: {
            id: '42',
            method: 'POST',
            headers: { accept: '*/*' },
            path: '/v1/models?limit=1',
            body: '{}',
            rawBody: Buffer.from([0, 255]),
            headerMap: { headers: [{ key: 'a', value: 'b', rawValue: Buffer.from([200]) }] },
          },
        },
        contextExtensions: { route: 'llm' },
      },
    }
    expect(Check.requestDeserialize(Check.requestSerialize(request))).toEqual(request)
  })

  it('describe both answers to Check', () => {
    const header = {
      header: { key: 'x', value: 'y' },
      append: { value: false },
      appendAction: 'OVERWRITE_IF_EXISTS_OR_ADD',
    } as const
    const allow: CheckResponse = {
      status: { code: 0 },
      okResponse: {
        headers: [header],
        headersToRemove: ['authorization'],
        responseHeadersToAdd: [header],
      },
      dynamicMetadata: { fields: { cap: { numberValue: 7 }, tenant: { stringValue: 'a' } } },
    }
    const deny: CheckResponse = {
      status: { code: 16 },
      deniedResponse: { status: { code: 401 }, headers: [header], body: '{}' },
      dynamicMetadata: { fields: {} },
    }
    const overwrite = { ...header, appendAction: 2 }
    // Zero and false are written out, not left to a default.
    expect(roundTrip(Check.responseSerialize(allow), Check)).toEqual({
      status: { code: 0 },
      okResponse: {
        ...allow.okResponse,
        headers: [overwrite],
        responseHeadersToAdd: [overwrite],
      },
      dynamicMetadata: allow.dynamicMetadata,
    })
    expect(roundTrip(Check.responseSerialize(deny), Check)).toEqual({
      status: { code: 16 },
      deniedResponse: { status: { code: 401 }, headers: [overwrite], body: '{}' },
      dynamicMetadata: {},
    })
  })

  it('describe a decoded RateLimitRequest, where zero differs from absent', () => {
    const entries = [{ key: 'report', value: 'end' }]
    const request: Required<RateLimitRequest> = {
      domain: 'tollgate',
      descriptors: [
        { entries, hitsAddend: { value: Number.MAX_SAFE_INTEGER } },
        { entries, hitsAddend: { value: 2 ** 63 }, isNegativeHits: true },
        { entries, hitsAddend: {} },
        { entries, limit: { requestsPerUnit: 2 ** 32 - 1, unit: 4, unitMultiplier: { value: 2 } } },
        { entries },
      ],
      hitsAddend: 2 ** 32 - 1,
    }
    expect(ShouldRateLimit.requestDeserialize(ShouldRateLimit.requestSerialize(request))).toEqual(
      request,
    )
  })

  it('describe the answer to ShouldRateLimit', () => {
    const response: Required<RateLimitResponse> = {
      overallCode: 'OVER_LIMIT',
      statuses: [
        { code: 'OK', limitRemaining: 2 ** 32 - 1 },
        {
          code: 'OVER_LIMIT',
          currentLimit: { requestsPerUnit: 10, unit: 'WEEK', name: 'mine' },
          limitRemaining: 0,
          durationUntilReset: { seconds: 604_800 },
        },
      ],
      responseHeadersToAdd: [{ key: 'RateLimit-Limit', value: '10' }],
      dynamicMetadata: {
        fields: {
          yes: { boolValue: true },
          none: { nullValue: 'NULL_VALUE' },
          all: { structValue: { fields: { one: { numberValue: 1 } } } },
          list: { listValue: { values: [{ stringValue: 'a' }] } },
        },
      },
    }
    expect(roundTrip(ShouldRateLimit.responseSerialize(response), ShouldRateLimit)).toEqual({
      ...response,
      overallCode: 2,
      statuses: [
        { code: 1, limitRemaining: 2 ** 32 - 1 },
        {
          code: 2,
          currentLimit: { requestsPerUnit: 10, unit: 7, name: 'mine' },
          limitRemaining: 0,
          durationUntilReset: { seconds: 604_800 },
        },
      ],
      dynamicMetadata: {
        fields: { ...response.dynamicMetadata.fields, none: { nullValue: 0 } },
      },
    })
  })

  function roundTrip(
    bytes: Buffer,
    method: { readonly responseDeserialize: (bytes: Buffer) => unknown },
  ): unknown {
    return method.responseDeserialize(bytes)
  }
})
