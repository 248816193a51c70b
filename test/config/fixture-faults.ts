import { sections } from '../../src/config/schema.js'
import { oneOf } from '../../src/config/values.js'
import { ledgerKinds } from '../../src/quota/ledgers.js'

const ledgerKeys = Object.keys(sections.ledger.unwrap().shape)

/**
 * Every fixture that is named after its fault, and the whole message that it must lead to: one line per fault,
 * without the file name in front.
 */
export const fixtureFaults: Readonly<Record<string, readonly string[]>> = {
  'address-malformed': [
    '1: listen.grpc is "unix:relative.sock"; expected unix:///PATH or HOST:PORT',
    '1: listen.metrics is "9192"; expected unix:///PATH or HOST:PORT',
    '1: listen.admin is "[::1:9193"; expected unix:///PATH or HOST:PORT',
  ],
  'admin-beyond-loopback': [
    '1: listen.admin is 10.0.0.1:9193; expected a Unix socket or a loopback address: it names callers',
  ],
  'algorithm-none': [
    '4: issuers[0].algorithms[0] is none; expected one of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA, Ed25519',
  ],
  'alias-bomb': [
    ...[0, 1, 2].map((at) => `2: b[${String(at)}] is an alias; expected no alias: write it out`),
    ...[0, 1, 2].map((at) => `3: c[${String(at)}] is an alias; expected no alias: write it out`),
  ],
  alias: ['6: issuers[0].groups is an alias; expected no alias: write it out'],
  'audit-key-inside': [
    '3: audit.keyFile is (not shown); expected the path of an Ed25519 private key in PEM',
  ],
  'audit-without-key': [
    '1: audit.keyFile is (missing); expected the path of an Ed25519 private key in PEM',
  ],
  'body-cap-too-small': [
    '1: limits.maxBodyBytes is 8; expected a whole number of bytes from 1024 to 67108864',
  ],
  'comment-only': [
    '1: file is (missing); expected a mapping with keys of listen, ledger, inspection, audit, limits, cors, drain, log, maxStreamMs, leaseMs, keepCredential, rateLimitService, issuers, apiKeys, models, paths, grants, quotas',
  ],
  'cors-origin-with-path': [
    '1: cors.origins[0] is "https://app.example/"; expected an origin as a browser sends it, as https://app.example, without a path',
    '1: cors.origins[1] is "*"; expected an origin as a browser sends it, as https://app.example, without a path',
  ],
  'default-output-over-context': [
    '7: models[0].defaultOutputTokens is (missing); expected less than contextTokens (1024)',
  ],
  'duplicate-key-inside': [
    '7: models[0].pool is given again; expected each key once: the first is on line 7',
  ],
  'duplicate-key': ['12: quotas is given again; expected each key once: the first is on line 10'],
  empty: [
    '1: file is (missing); expected a mapping with keys of listen, ledger, inspection, audit, limits, cors, drain, log, maxStreamMs, leaseMs, keepCredential, rateLimitService, issuers, apiKeys, models, paths, grants, quotas',
  ],
  'grant-anyone-and-groups': [
    '9: grants[0].anyone is true; expected to be left out, since the grant lists who it is for',
  ],
  'grant-model-alias': [
    '9: grants[0].models[0] is llama; expected the name of the model, not its alias: llama-70b',
  ],
  'grant-model-unknown': [
    '9: grants[0].models[0] is lama-70b; expected a pattern that matches a model of this file',
  ],
  'grant-name-repeated': [
    '10: grants[1].name is a; expected a grant name that no earlier entry has',
  ],
  'grant-of-nothing': [
    '9: grants[0] is a mapping; expected models, paths or both: it grants nothing',
    '9: grants[0].maxOutputTokens is 100; expected to be left out, since it grants no models',
  ],
  'grant-output-over-context': [
    '9: grants[0].maxOutputTokens is 131072; expected less than 131072, the contextTokens of llama-70b',
  ],
  'grant-path-unknown': [
    '9: grants[0].paths[0] is /health; expected a path that the section paths lists',
  ],
  'grant-with-request-quota-only': [
    '9: grants[0] is a mapping; expected unlimited: true, or a quota of unit tokens or cost, or quotas of input_tokens and output_tokens, without shadow that binds llama-70b',
  ],
  'grant-with-shadow-quota-only': [
    '9: grants[0] is a mapping; expected unlimited: true, or a quota of unit tokens or cost, or quotas of input_tokens and output_tokens, without shadow that binds llama-70b',
  ],
  'grant-without-condition': [
    '9: grants[0] is a mapping named everyone; expected a condition: one of tenants, groups and clients, or anyone: true for every verified caller',
  ],
  'grant-without-quota': [
    '10: grants[0] is a mapping; expected unlimited: true, or a quota of unit tokens or cost, or quotas of input_tokens and output_tokens, without shadow that binds llama-70b',
  ],
  'grpc-beyond-loopback-without-tls': [
    '1: listen.grpc is 0.0.0.0:9191; expected a Unix socket, a loopback address, or listen.tls with certFile, keyFile, clientCaFile and allowedSans: whoever reaches this port could end reservations',
  ],
  'grpc-name-is-not-loopback': [
    '1: listen.grpc is tollgate.internal:9191; expected a Unix socket, a loopback address, or listen.tls with certFile, keyFile, clientCaFile and allowedSans: whoever reaches this port could end reservations',
  ],
  'grpc-tls-on-unix-socket': [
    '2: listen.tls is a mapping; expected to be left out, since listen.grpc is a Unix socket',
  ],
  'grpc-tls-without-sans': ['3: listen.tls.allowedSans is []; expected a list of 1 to 100 items'],
  'issuer-http-beyond-loopback': [
    '2: issuers[0].issuer is http://idp.example.com; expected an https:// URL without query, fragment and user (http:// only to a loopback address, with insecureHttp: true)',
  ],
  'issuer-http': [
    '2: issuers[0].issuer is http://127.0.0.1:9400; expected https://, or insecureHttp: true beside it (loopback only)',
  ],
  'issuer-insecure-http-on-https': [
    '6: issuers[0].insecureHttp is true; expected to be left out, since the issuer is https://',
  ],
  'issuer-repeated': [
    '6: issuers[1].issuer is https://idp.example.com; expected an issuer that no earlier entry has',
  ],
  'issuer-with-password': [
    '2: issuers[0].issuer is https://***@idp.example.com; expected an https:// URL without query, fragment and user (http:// only to a loopback address, with insecureHttp: true)',
  ],
  'key-not-text': [
    '12: 7 is no text; expected a key that is plain text, in quotes if it looks like something else',
  ],
  'lease-malformed': [
    '1: leaseMs is 1h; expected a whole number of milliseconds from maxStreamMs + 60000 to 172800000',
  ],
  'ledger-redis': [
    '1: ledger.url is redis://***@redis; expected redis://HOST:PORT, rediss://HOST:PORT (TLS) or unix:///PATH, without user and password',
  ],
  'lease-shorter-than-minute': [
    '1: leaseMs is 60000; expected a whole number of milliseconds from maxStreamMs + 60000 = 1860000 to 172800000, or a lease could end before its stream',
  ],
  'lease-shorter-than-stream': [
    '2: leaseMs is 659999; expected a whole number of milliseconds from maxStreamMs + 60000 = 660000 to 172800000, or a lease could end before its stream',
  ],
  'ledger-unknown': [
    `1: ledger.kind is abacus; expected ${oneOf(ledgerKinds)}`,
    `1: ledger.beads is unknown; expected ${oneOf(ledgerKeys)}`,
  ],
  'list-instead-of-mapping': ['1: drain is a list; expected a mapping'],
  'mapping-instead-of-list': ['10: quotas is a mapping; expected a list of at most 1000 entries'],
  'missing-key': ['2: issuers[0].audiences is (missing); expected a list of 1 to 20 items'],
  'missing-value': ['4: issuers[0].algorithms is empty; expected a list of 1 to 11 items'],
  'model-name-repeated': [
    '8: models[1].aliases[0] is llama-70b; expected a name or alias that no earlier entry has',
  ],
  'no-issuer': [
    '1: issuers is (missing); expected a list of 1 to 1000 issuers, or apiKeys: without both, nobody could call',
  ],
  'not-a-mapping': [
    '1: file is a list; expected a mapping with keys of listen, ledger, inspection, audit, limits, cors, drain, log, maxStreamMs, leaseMs, keepCredential, rateLimitService, issuers, apiKeys, models, paths, grants, quotas',
  ],
  'one-bad-entry-hides-none': [
    '11: quotas[0].limit is none; expected a whole number of units from 1 to 9007199254740991, or of unit cost an amount as 25.50',
    '12: quotas[1].name is user-minute; expected a quota name that no earlier entry has',
    '12: quotas[1].window is 1m; expected to be left out: in_flight counts what is under way, over no window',
    '13: quotas[2].name is user-minute; expected a quota name that no earlier entry has',
  ],
  'path-not-normal': [
    '2: paths[0].path is /a/../health; expected a path in normal form, as /v1/models: no query, no percent sign, no empty or dot segment',
    '3: paths[1].path is /a%2fb; expected a path in normal form, as /v1/models: no query, no percent sign, no empty or dot segment',
    '4: paths[2].path is /a?b=c; expected a path in normal form, as /v1/models: no query, no percent sign, no empty or dot segment',
  ],
  'path-of-a-dialect': [
    '2: paths[0].path is /v1/messages; expected a path that names no model; this one is read by the anthropic dialect',
  ],
  'path-public-with-body': [
    '3: paths[1].method is POST; expected GET or HEAD where the path is public: no body must follow unread',
  ],
  'path-repeated': [
    '3: paths[1].path is /health; expected a path and method that no earlier entry has',
  ],
  'personal-data-without-kinds': [
    '1: inspection.personal-data.kinds is []; expected at least one kind, or action: off',
  ],
  'prohibited-list-empty': [
    '1: inspection.prohibited[0] is a mapping named codes; expected at least one phrase or pattern',
  ],
  'prohibited-name-repeated': [
    '4: inspection.prohibited[1].name is codes; expected a list name that no earlier entry has',
  ],
  'prohibited-pattern-does-not-compile': [
    '3: inspection.prohibited[0].patterns[0] is "(unclosed"; expected a pattern in RE2 syntax (no look-around, no back-references)',
  ],
  'prohibited-patterns-too-many': [
    '2: inspection.prohibited is a list; expected at most 100 patterns in all lists together, not 101: each is another pass over every prompt',
  ],
  'prototype-key': [
    '1: __proto__ is unknown; expected one of listen, ledger, inspection, audit, limits, cors, drain, log, maxStreamMs, leaseMs, keepCredential, rateLimitService, issuers, apiKeys, models, paths, grants, quotas',
  ],
  'quota-dimension-twice': [
    '11: quotas[0].by[1] is tenant; expected a dimension that no earlier entry has',
  ],
  'quota-dimension-unknown': [
    '11: quotas[0].by[1] is user; expected one of tenant, subject, client, model, group, pool, route, spiffe, api_key, or claim:NAME as claim:department',
  ],
  'quota-group-without-groups': [
    '11: quotas[0].groups is (missing); expected a list of the groups to count by, since by holds group',
  ],
  'quota-groups-without-group': [
    '11: quotas[0].groups is a list; expected to be left out, or group in by',
  ],
  'quota-in-flight-with-window': [
    '12: quotas[1].window is 1m; expected to be left out: in_flight counts what is under way, over no window',
  ],
  'quota-limit-in-quotes': [
    '11: quotas[0].limit is "60000"; expected a whole number of units from 1 to 9007199254740991, or of unit cost an amount as 25.50',
  ],
  'quota-limit-zero': [
    '11: quotas[0].limit is 0; expected a whole number of units from 1 to 9007199254740991, or of unit cost an amount as 25.50',
  ],
  'quota-model-unknown': [
    '12: quotas[1].models[0] is "qwen-*"; expected a pattern that matches a model of this file',
  ],
  'quota-name-repeated': [
    '12: quotas[1].name is user-minute; expected a quota name that no earlier entry has',
  ],
  'quota-time-zone-of-sliding-window': [
    '11: quotas[0].timezone is UTC; expected to be left out: only minute, hour, day, week, month and year have one',
  ],
  'quota-time-zone-unknown': [
    '12: quotas[1].timezone is Europe/Atlantis; expected an IANA time zone that this runtime knows, as Europe/Berlin',
  ],
  'quota-window-malformed': [
    '12: quotas[1].window is 90; expected a duration from 1s to 31d, as 30s, 1m, 24h or 7d (sliding), or one of minute, hour, day, week, month, year (calendar), or fixed and one of second, minute, hour, day, week, month, year',
    '13: quotas[2].window is 32d; expected a duration from 1s to 31d, as 30s, 1m, 24h or 7d (sliding), or one of minute, hour, day, week, month, year (calendar), or fixed and one of second, minute, hour, day, week, month, year',
  ],
  'quota-without-window': [
    '12: quotas[1].window is (missing); expected a window, as 1m or day, since the unit is counted over time',
  ],
  'sections-empty': [
    '1: audit is empty; expected a mapping, or the key left out',
    '3: limits is empty; expected a mapping, or the key left out',
    '5: paths is empty; expected a list of at most 1000 entries, or the key left out',
  ],
  'same-address-twice': [
    '1: listen.admin is (missing); expected another address than 127.0.0.1:9193, which is that of listen.metrics',
  ],
  'several-faults': [
    '1: drain.delayMs is 1s; expected a whole number of milliseconds from 0 to 600000',
    '5: issuers[0].algorithms[0] is HS256; expected one of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA, Ed25519',
    '8: models[0].tokenizer is llama3; expected one of o200k_base, cl100k_base',
    '12: quotas[0].limit is 6e30; expected a whole number of units from 1 to 9007199254740991, or of unit cost an amount as 25.50',
  ],
  'several-issuers-with-claim-tenant': [
    '5: issuers[0].tenant.claim is org; expected fixed instead, since there are several issuers: by a claim one could name the tenant of another',
  ],
  'syntax-unclosed-list': [
    '5: syntax is wrong at column 5; expected a closing } or ] for every { or [, and all that is inside further right than its key',
  ],
  'tag-of-yaml': [
    '3: issuers[0].audiences is tagged; expected no tag (a word after !)',
    '7: models[0].name is tagged; expected no tag (a word after !)',
    '11: quotas[0].name is tagged; expected no tag (a word after !)',
  ],
  tag: ['3: issuers[0].audiences is tagged; expected no tag (a word after !)'],
  'tenant-claim-and-fixed': [
    '5: issuers[0].tenant is a mapping; expected exactly one of claim and fixed',
  ],
  'tenant-repeated': [
    '6: issuers[1].tenant.fixed is acme; expected a tenant that no earlier entry has',
  ],
  'threshold-over-one': ['1: inspection.injection.threshold is 90; expected a number from 0 to 1'],
  'tokenizer-unknown': [
    '7: models[0].tokenizer is llama3; expected one of o200k_base, cl100k_base',
  ],
  'two-documents': [
    '12: syntax is wrong at column 1; expected one document, without a second one after ---',
  ],
  'unknown-key-inside': [
    '11: quotas[0].windows is unknown (did you mean window?); expected one of name, unit, limit, window, timezone, by, groups, models, shadow, onStoreFailure, overrides, limitClaim, slices',
  ],
  'unknown-key-secret': [
    '1: password is unknown; expected one of listen, ledger, inspection, audit, limits, cors, drain, log, maxStreamMs, leaseMs, keepCredential, rateLimitService, issuers, apiKeys, models, paths, grants, quotas',
  ],
  'unknown-key': [
    '1: ledgers is unknown (did you mean ledger?); expected one of listen, ledger, inspection, audit, limits, cors, drain, log, maxStreamMs, leaseMs, keepCredential, rateLimitService, issuers, apiKeys, models, paths, grants, quotas',
  ],
}
