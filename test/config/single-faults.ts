import { oneOf } from '../../src/config/values.js'
import { ledgerKinds } from '../../src/quota/ledgers.js'
import { quotaUnitNames } from '../../src/quota/units.js'

/** A policy in which every entry has a neighbour, so that a fault in one can show that it hides none in another. */
export const goodPolicy = {
  listen: {
    grpc: '0.0.0.0:9191',
    tls: { certFile: 'c.pem', keyFile: 'k.pem', clientCaFile: 'ca.pem', allowedSans: ['envoy'] },
    metrics: '0.0.0.0:9192',
    admin: '127.0.0.1:9193',
  },
  ledger: { kind: 'memory' },
  rateLimitService: {
    configDir: 'limits',
    redis: { url: 'redis://counters' },
    perSecond: { url: 'redis://seconds' },
    responseHeaders: {},
  },
  issuers: [
    issuer('https://a.example', 'acme'),
    issuer('https://b.example', 'umbra'),
    { ...issuer('http://127.0.0.1:9400', 'lab'), insecureHttp: true },
    issuer('https://d.example', 'zeta'),
  ],
  apiKeys: [
    { ...apiKey('nightly', '0'), groups: ['batch'], expires: '2027-01-31T00:00:00Z' },
    { ...apiKey('weekly', '1'), client: 'cron' },
    apiKey('spare', '2'),
  ],
  models: [
    { ...model('llama-70b'), aliases: ['llama', 'llama-latest'], defaultOutputTokens: 512 },
    { ...model('qwen-7b'), aliases: ['qwen'], streamUsage: 'inject' },
    { ...model('mistral'), extraFields: ['logit_bias'], uncapped: 'cap' },
    model('metered'),
    model('spare'),
  ],
  paths: [
    { path: '/health', method: 'GET', pool: 'gpu-a', public: true },
    { path: '/v1/models', method: 'GET', pool: 'gpu-a', public: false },
    { path: '/version', method: 'GET', pool: 'gpu-a', public: true },
    { path: '/spare', method: 'GET', pool: 'gpu-a', public: false },
  ],
  grants: [
    {
      name: 'research',
      tenants: ['acme'],
      groups: ['r'],
      models: ['llama-*'],
      maxOutputTokens: 64,
    },
    { name: 'sales', tenants: ['umbra'], models: ['qwen-7b'], paths: ['/v1/models'] },
    { name: 'open', anyone: true, models: ['mistral'], unlimited: true },
    { name: 'metered', clients: ['batch'], models: ['metered'], unlimited: false },
    { name: 'paths', tenants: ['acme'], paths: ['/health'] },
    { name: 'crew', groups: ['crew'], models: ['mistral'], fields: ['image_url'], unlimited: true },
    { name: 'spare', groups: ['x'], paths: ['/health'] },
  ],
  quotas: [
    quota('llama', { models: ['llama-70b'], window: '1m' }),
    quota('qwen', { models: ['qwen-7b'], window: 'day', timezone: 'Europe/Berlin' }),
    quota('metered', { models: ['metered'], window: '1h', shadow: false }),
    quota('parallel', { unit: 'in_flight', models: ['mistral'] }),
    quota('team', { models: ['mistral'], window: '1d', by: ['group', 'tenant'], groups: ['r'] }),
    quota('hour', { models: ['mistral'], window: '1h', unit: 'requests' }),
    quota('month', { models: ['mistral'], window: 'month', timezone: 'UTC' }),
    quota('teams', { models: ['mistral'], window: '1d', by: ['group'], groups: ['r'] }),
    quota('spare', { models: ['mistral'], window: '1d' }),
  ],
  inspection: {
    injection: { action: 'block', threshold: 0.9, untrusted: { threshold: 0.7 } },
    'control-tokens': { action: 'block' },
    secrets: { action: 'block' },
    'personal-data': { action: 'flag', kinds: ['iban'] },
    prohibited: [
      { name: 'codenames', action: 'block', phrases: ['project heron'], patterns: ['heron-[0-9]'] },
      { name: 'rivals', action: 'flag', phrases: ['acme'], patterns: ['umbra', 'wayne'] },
      { name: 'empty', action: 'flag', phrases: ['to be removed'], patterns: [] },
      { name: 'spare', action: 'flag', phrases: ['spare'] },
    ],
  },
  audit: { file: 'audit.jsonl', required: true, keyFile: 'audit.pem', writeTimeoutMs: 250 },
  limits: { maxBodyBytes: 1_048_576, maxConcurrentChecks: 64, examinationTimeoutMs: 500 },
  cors: { origins: ['https://app.example', 'https://chat.example'] },
  drain: { delayMs: 0, deadlineMs: 1000 },
  log: { level: 'info' },
  maxStreamMs: 600_000,
  leaseMs: 700_000,
  keepCredential: false,
}

function issuer(url: string, tenant: string) {
  return {
    issuer: url,
    audiences: ['llm'],
    algorithms: ['ES256', 'RS256'],
    tenant: { fixed: tenant },
    groups: { claim: 'groups' },
    clockToleranceMs: 5000,
  }
}

function apiKey(id: string, digit: string) {
  return { id, sha256: digit.repeat(64).replace('0', 'f'), tenant: 'acme', subject: id }
}

function model(name: string) {
  return { name, tokenizer: 'o200k_base', contextTokens: 8192, pool: 'gpu-a' }
}

function quota(name: string, rest: Readonly<Record<string, unknown>>) {
  return { name, unit: 'tokens', limit: 60_000, by: ['tenant'], ...rest }
}

/** One mistake in `goodPolicy`, and all that may be said about it. */
export interface SingleFault {
  /** What is written where, as `quotas[0].limit`; undefined removes it. */
  readonly edits: Readonly<Record<string, unknown>>
  /** As `KEY expected WHAT`. */
  readonly message: string
  /** Other keys that the rule has to read: where one of them is wrong too, nothing can be said. */
  readonly needs: readonly string[]
}

function fault(
  edits: SingleFault['edits'],
  message: string,
  needs: SingleFault['needs'] = [],
): SingleFault {
  return { edits, message, needs }
}

/** A value that is wrong by itself: the message is about the key that was edited. */
function malformed(key: string, value: unknown, expected: string): SingleFault {
  return fault({ [key]: value }, `${key} expected ${expected}`)
}

const aName = 'a name of 1 to 64 letters, digits, dots, hyphens or underscores'
export const aModel =
  'a model name of 1 to 128 letters, digits or . _ : / @ + -, beginning with a letter or digit'
const aClaim = (what: string): string =>
  `${what}: text of 1 to 255 characters without control characters, in quotes if it looks like a number`
export const aTenant = aClaim('a tenant')
const anId =
  'a name of 1 to 64 letters, digits, dots, hyphens or underscores, which does not begin with tgk_'
const aHash =
  'the SHA-256 of the whole key, 64 lower-case hex digits (tollgate key new prints it), in quotes if it looks like a number'
const aDateTime = 'a date and time with its zone, as 2027-01-31T00:00:00Z'
export const aPattern =
  'a model name or a pattern of one with * for any run of characters, at most 128 characters'
const aWindow =
  'a duration from 1s to 31d, as 30s, 1m, 24h or 7d (sliding), or one of minute, hour, day, week, month, year (calendar), or fixed and one of second, minute, hour, day, week, month, year'
export const aPath =
  'a path in normal form, as /v1/models: no query, no percent sign, no empty or dot segment'
const aUrl =
  'an https:// URL without query, fragment and user (http:// only to a loopback address, with insecureHttp: true)'
const issuerKeys =
  'issuer, audiences, algorithms, tenant, groups, clockToleranceMs, maxLifetimeMs, jwksCacheMs, jwksStaleMs, caFile, insecureHttp'

const aRedisUrl =
  'redis://HOST:PORT, rediss://HOST:PORT (TLS) or unix:///PATH, without user and password'

const aRedisNode =
  'redis://HOST:PORT or rediss://HOST:PORT (TLS), without user, password and database'
function sentinelOf(...nodes: readonly string[]) {
  return { master: 'mymaster', nodes: nodes.length === 0 ? ['redis://sentinel:26379'] : nodes }
}

/** Of a section that names a Redis: `held` is what else it says, `why` as in the message that one is missing. */
function redisFaults(at: string, held: object = {}, why = ''): readonly SingleFault[] {
  const sentinel = sentinelOf()
  const tls = { caFile: 'ca.pem' }
  const rows: readonly (readonly [object, string])[] = [
    [
      {},
      `.url expected redis://HOST:PORT, rediss://HOST:PORT or unix:///PATH, or ${at}.sentinel or ${at}.cluster${why}`,
    ],
    [{ url: 'redis:6379' }, `.url expected ${aRedisUrl}`],
    [
      { url: 'unix:///run/redis.sock', tls },
      `.tls expected to be left out, or ${at}.url to begin with rediss://`,
    ],
    [
      { url: 'redis://redis:6379', user: 'tollgate' },
      `.passwordFile expected the file with the password of ${at}.user`,
    ],
    [
      { url: 'redis://redis', sentinel },
      `.sentinel expected to be left out, since ${at}.url says where Redis is`,
    ],
    [
      { sentinel, cluster: { nodes: ['redis://a:1'] } },
      `.cluster expected to be left out, since ${at}.sentinel says where Redis is`,
    ],
    [
      { cluster: { nodes: ['redis://a:1'] }, tls },
      `.tls expected to be left out, or ${at}.cluster.nodes to begin with rediss://`,
    ],
    [
      { cluster: { nodes: ['redis://a:1', 'rediss://b:2'] } },
      '.cluster.nodes[1] expected redis:// or rediss://, the same in all items of the list',
    ],
    [{ cluster: { nodes: [] } }, '.cluster.nodes expected a list of 1 to 32 items'],
    [
      { sentinel, tls },
      `.tls expected to be left out, or ${at}.sentinel.nodes to begin with rediss://`,
    ],
    [
      { sentinel: sentinelOf('redis://a:1', 'rediss://b:2') },
      '.sentinel.nodes[1] expected redis:// or rediss://, the same in all items of the list',
    ],
    [
      { sentinel: { ...sentinel, user: 'tollgate' } },
      `.sentinel.passwordFile expected the file with the password of ${at}.sentinel.user`,
    ],
    [{ sentinel: sentinelOf('redis://a') }, `.sentinel.nodes[0] expected ${aRedisNode}`],
    [{ sentinel: { nodes: ['redis://a:1'] } }, `.sentinel.master expected ${aName}`],
  ]
  return rows.map(([says, message]) => fault({ [at]: { ...held, ...says } }, `${at}${message}`))
}

/** At least one for every rule of `rules.ts` and `grants.ts`, and some for the words of the schema. */
export const singleFaults: readonly SingleFault[] = [
  malformed('listen.metrics', '9192', 'unix:///PATH or HOST:PORT'),
  malformed('listen.tls.allowedSans', [], 'a list of 1 to 100 items'),
  malformed('listen.tls.certFile', 7, 'the path of a PEM certificate chain'),
  malformed('ledger.kind', 'abacus', oneOf(ledgerKinds)),
  malformed('ledger.url', 'redis:6379', aRedisUrl),
  ...redisFaults('ledger', { kind: 'redis' }, ', since ledger.kind is redis'),
  ...redisFaults('rateLimitService.redis'),
  ...redisFaults('rateLimitService.perSecond'),
  ...Object.entries({
    url: 'redis://redis',
    sentinel: sentinelOf(),
    cluster: { nodes: ['redis://a:1'] },
    tls: { caFile: 'ca.pem' },
    user: 'tollgate',
    passwordFile: 'password',
    processes: 4,
  }).map(([key, value]) =>
    fault(
      { [`ledger.${key}`]: value },
      `ledger.${key} expected to be left out, since ledger.kind is memory`,
      ['ledger.kind'],
    ),
  ),
  malformed('ledger.timeoutMs', 5, 'a whole number of milliseconds from 10 to 5000'),
  malformed('ledger.processes', 0, 'a whole number of processes from 1 to 10000'),
  malformed('ledger.maxPartitions', 999, 'a whole number of partitions from 1000 to 100000000'),
  malformed('quotas[0].onStoreFailure', 'closed', 'one of deny, local, allow'),
  fault(
    { rateLimitService: { configDir: 'limits', mode: 'shared' } },
    'rateLimitService.redis expected the Redis that envoyproxy/ratelimit counts in, since the mode is shared and ledger.kind is memory',
    ['ledger.kind'],
  ),
  fault(
    { rateLimitService: { configDir: 'limits', perSecond: { url: 'redis://one' } } },
    'rateLimitService.redis expected where all other limits are counted, since perSecond is given and ledger.kind is memory',
    ['ledger.kind'],
  ),
  ...['a b', '{a', 'a}', 'a'.repeat(65)].map((prefix) =>
    malformed(
      'rateLimitService.cacheKeyPrefix',
      prefix,
      'a text of at most 64 printable characters, neither spaces nor braces',
    ),
  ),
  malformed(
    'rateLimitService.responseHeaders.reset',
    'Reset:',
    'the name of a header, of 1 to 64 letters, digits and hyphens',
  ),
  malformed('log.level', 'loud', 'one of trace, debug, info, warn, error, fatal'),
  malformed('drain', [1000], 'a mapping'),
  malformed('keepCredential', 'no', 'true or false'),
  malformed('limits.maxBodyBytes', 8, 'a whole number of bytes from 1024 to 67108864'),
  malformed(
    'cors.origins[1]',
    '*',
    'an origin as a browser sends it, as https://app.example, without a path',
  ),
  malformed('audit.keyFile', undefined, 'the path of an Ed25519 private key in PEM'),
  malformed('maxStreamMs', '10m', 'a whole number of milliseconds from 1000 to 86400000'),
  fault(
    { 'audit.chain': true },
    'audit.chain expected one of file, required, keyFile, writeTimeoutMs',
  ),
  fault(
    { leaseMs: 659_999 },
    'leaseMs expected a whole number of milliseconds from maxStreamMs + 60000 = 660000 to 172800000, or a lease could end before its stream',
    ['maxStreamMs'],
  ),
  fault(
    { 'listen.tls': undefined },
    'listen.grpc expected a Unix socket, a loopback address, or listen.tls with certFile, keyFile, clientCaFile and allowedSans: whoever reaches this port could end reservations',
    ['listen.grpc'],
  ),
  fault(
    { 'listen.grpc': 'unix:///s' },
    'listen.tls expected to be left out, since listen.grpc is a Unix socket',
    ['listen.tls'],
  ),
  fault(
    { 'listen.admin': '10.0.0.1:1' },
    'listen.admin expected a Unix socket or a loopback address: it names callers',
  ),
  fault(
    { 'listen.admin': '127.0.0.1:9192', 'listen.metrics': '127.0.0.1:9192' },
    'listen.admin expected another address than 127.0.0.1:9192, which is that of listen.metrics',
  ),

  malformed('issuers[0].audiences', undefined, 'a list of 1 to 20 items'),
  malformed(
    'issuers[1].algorithms[1]',
    'none',
    'one of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA, Ed25519',
  ),
  malformed('issuers[0].clockToleranceMs', -1, 'a whole number of milliseconds from 0 to 120000'),
  malformed('issuers[0].issuer', 'ftp://a.example', aUrl),
  malformed('issuers[3].tenant.fixed', '', aTenant),
  malformed('issuers[3].tenant', undefined, 'a mapping'),
  fault({ 'issuers[1].audience': 'llm' }, `issuers[1].audience expected one of ${issuerKeys}`),
  fault(
    { 'issuers[3].tenant.claim': 'org' },
    'issuers[3].tenant expected exactly one of claim and fixed',
    ['issuers[3].tenant.fixed'],
  ),
  fault(
    { 'issuers[3].tenant': { claim: 'org' } },
    'issuers[3].tenant.claim expected fixed instead, since there are several issuers: by a claim one could name the tenant of another',
  ),
  fault(
    { 'issuers[3].tenant.fixed': 'acme' },
    'issuers[3].tenant.fixed expected a tenant that no earlier entry has',
    ['issuers[0].tenant'],
  ),
  fault(
    { 'issuers[3].issuer': 'https://b.example' },
    'issuers[3].issuer expected an issuer that no earlier entry has',
    ['issuers[1].issuer'],
  ),
  fault(
    { 'issuers[2].insecureHttp': undefined },
    'issuers[2].issuer expected https://, or insecureHttp: true beside it (loopback only)',
    ['issuers[2].issuer'],
  ),
  fault(
    { 'issuers[1].insecureHttp': true },
    'issuers[1].insecureHttp expected to be left out, since the issuer is https://',
    ['issuers[1].issuer'],
  ),

  malformed('apiKeys[0].id', 'two words', anId),
  malformed('apiKeys[1].id', `tgk_${'x'.repeat(43)}`, anId),
  malformed('apiKeys[0].sha256', 'F'.repeat(64), aHash),
  malformed('apiKeys[1].sha256', '1'.repeat(63), aHash),
  malformed('apiKeys[2].sha256', undefined, aHash),
  malformed('apiKeys[0].tenant', '', aTenant),
  malformed('apiKeys[1].subject', undefined, aClaim('a subject')),
  malformed('apiKeys[1].client', 7, aClaim('a client')),
  malformed('apiKeys[0].groups', 'batch', 'a list'),
  malformed('apiKeys[0].groups[0]', '', aClaim('a group')),
  malformed('apiKeys[0].expires', '2027-02-30T00:00:00Z', aDateTime),
  malformed('apiKeys[0].expires', '2027-01-31', aDateTime),
  malformed('apiKeys[0].expires', 1_800_000_000, aDateTime),
  malformed('apiKeys[2]', 'spare', 'a mapping'),
  fault(
    { 'apiKeys[1].scopes': ['chat'] },
    'apiKeys[1].scopes expected one of id, sha256, tenant, subject, client, groups, expires',
  ),
  fault({ 'apiKeys[2].id': 'nightly' }, 'apiKeys[2].id expected an id that no earlier entry has', [
    'apiKeys[0].id',
  ]),
  fault(
    { 'apiKeys[2].sha256': '1'.repeat(64) },
    'apiKeys[2].sha256 expected the hash of a key that no earlier entry has',
    ['apiKeys[1].sha256'],
  ),

  malformed('models[0].tokenizer', 'llama3', 'one of o200k_base, cl100k_base'),
  malformed('models[1].streamUsage', 'injekt', 'one of inject, require, estimate'),
  malformed('models[2].extraFields[0]', 'a b', 'the name of a request field, or *'),
  malformed('models[3].pool', 'gpu a', aName),
  malformed('models[4].name', 'no name', aModel),
  malformed('models[4]', 'qwen', 'a mapping'),
  malformed('models[0].aliases[1]', 'no name', aModel),
  fault(
    { 'models[1].aliases[0]': 'llama-70b' },
    'models[1].aliases[0] expected a name or alias that no earlier entry has',
    ['models[0].name'],
  ),
  fault(
    { 'models[4].name': 'llama' },
    'models[4].name expected a name or alias that no earlier entry has',
    ['models[0].aliases[0]'],
  ),
  fault(
    { 'models[0].contextTokens': 512, 'grants[0].maxOutputTokens': 64 },
    'models[0].defaultOutputTokens expected less than contextTokens (512)',
    ['models[0].defaultOutputTokens'],
  ),

  malformed('paths[0].path', '/a/../b', aPath),
  malformed('paths[1].pool', '', aName),
  malformed('paths[2].method', 'get', 'one of GET, HEAD, POST, PUT, DELETE'),
  fault(
    { 'paths[2].method': 'POST' },
    'paths[2].method expected GET or HEAD where the path is public: no body must follow unread',
    ['paths[2].public'],
  ),
  fault(
    { 'paths[3].path': '/version' },
    'paths[3].path expected a path and method that no earlier entry has',
    ['paths[2].path', 'paths[2].method', 'paths[3].method'],
  ),
  fault(
    { 'paths[3].path': '/v1/messages' },
    'paths[3].path expected a path that names no model; this one is read by the anthropic dialect',
  ),

  malformed('grants[0].groups[0]', 7, aClaim('a group')),
  malformed('grants[1].maxOutputTokens', 0, 'a whole number of tokens from 1 to 2147483647'),
  malformed('grants[5].fields[0]', 'a b', 'the name of a request field, or *'),
  malformed('grants[5].clients', 'crm', 'a list'),
  fault(
    { 'grants[6].name': 'open' },
    'grants[6].name expected a grant name that no earlier entry has',
    ['grants[2].name'],
  ),
  fault(
    { 'grants[0].models': ['llama-*', 'lama'] },
    'grants[0].models[1] expected a pattern that matches a model of this file',
    ['models'],
  ),
  fault(
    { 'grants[5].models': ['mistral', 'qwen'] },
    'grants[5].models[1] expected the name of the model, not its alias: qwen-7b',
    ['models[1]'],
  ),
  fault(
    { 'grants[5].groups': undefined },
    'grants[5] expected a condition: one of tenants, groups and clients, or anyone: true for every verified caller',
    ['grants[5].clients', 'grants[5].tenants'],
  ),
  fault(
    { 'grants[2].groups': ['r'] },
    'grants[2].anyone expected to be left out, since the grant lists who it is for',
    ['grants[2].anyone'],
  ),
  fault(
    { 'grants[6].paths': undefined },
    'grants[6] expected models, paths or both: it grants nothing',
    ['grants[6].models'],
  ),
  fault(
    { 'grants[4].unlimited': true },
    'grants[4].unlimited expected to be left out, since it grants no models',
    ['grants[4].models'],
  ),
  fault(
    { 'grants[4].fields': ['image_url'] },
    'grants[4].fields expected to be left out, since it grants no models',
    ['grants[4].models'],
  ),
  fault(
    { 'grants[1].paths': ['/v1/model'] },
    'grants[1].paths[0] expected a path that the section paths lists',
    ['paths'],
  ),
  fault(
    { 'grants[0].maxOutputTokens': 8192 },
    'grants[0].maxOutputTokens expected less than 8192, the contextTokens of llama-70b',
    ['models[0].name', 'models[0].contextTokens', 'grants[0].models'],
  ),
  fault(
    { 'quotas[2].shadow': true },
    'grants[3] expected unlimited: true, or a quota of unit tokens or cost, or quotas of input_tokens and output_tokens, without shadow that binds metered',
    [
      'grants[3].models',
      'grants[3].unlimited',
      'models[3].name',
      'quotas[2].unit',
      'quotas[8].models',
    ],
  ),
  fault(
    { 'grants[1].tenants': ['umbrla'] },
    'grants[1].tenants[0] expected a tenant that an issuer or API key of this file has: acme, umbra, lab, zeta',
    [
      'issuers[0].tenant',
      'issuers[1].tenant',
      'issuers[2].tenant',
      'issuers[3].tenant',
      'apiKeys[0].tenant',
      'apiKeys[1].tenant',
      'apiKeys[2]',
    ],
  ),

  malformed(
    'quotas[0].limit',
    '60000',
    'a whole number of units from 1 to 9007199254740991, or of unit cost an amount as 25.50',
  ),
  malformed(
    'quotas[0].by[0]',
    'tennant',
    'one of tenant, subject, client, model, group, pool, route, spiffe, api_key, or claim:NAME as claim:department',
  ),
  malformed('quotas[1].unit', 'token', oneOf(quotaUnitNames)),
  malformed('quotas[5].window', '90', aWindow),
  malformed('quotas[6].by', undefined, 'a list'),
  malformed('quotas[8].models[0]', 'a b', aPattern),
  malformed('quotas[8].name', 'two words', aName),
  fault(
    { 'quotas[8].windows': '1m' },
    'quotas[8].windows expected one of name, unit, limit, window, timezone, by, groups, models, shadow, onStoreFailure, overrides, limitClaim, slices',
  ),
  fault(
    { 'quotas[8].name': 'team' },
    'quotas[8].name expected a quota name that no earlier entry has',
    ['quotas[4].name'],
  ),
  fault(
    { 'quotas[3].window': '1m' },
    'quotas[3].window expected to be left out: in_flight counts what is under way, over no window',
    ['quotas[3].unit'],
  ),
  fault(
    { 'quotas[8].window': undefined },
    'quotas[8].window expected a window, as 1m or day, since the unit is counted over time',
    ['quotas[8].unit', 'quotas[8].windows'],
  ),
  fault(
    { 'quotas[0].slices': true },
    'quotas[0].slices expected to be left out, since ledger.kind is memory',
    ['ledger.kind'],
  ),
  fault(
    {
      ledger: { kind: 'redis', url: 'unix:///run/redis.sock' },
      'quotas[2].window': '29s',
      'quotas[2].slices': true,
    },
    'quotas[2].slices expected to be left out, or a window of 30s or longer',
  ),
  fault(
    {
      ledger: { kind: 'redis', url: 'unix:///run/redis.sock' },
      'quotas[2].window': 'fixed second',
      'quotas[2].slices': true,
    },
    'quotas[2].slices expected to be left out, or a window of 30s or longer',
  ),
  fault(
    { 'quotas[0].timezone': 'UTC' },
    'quotas[0].timezone expected to be left out: only minute, hour, day, week, month and year have one',
    ['quotas[0].window'],
  ),
  fault(
    { 'quotas[1].timezone': 'Europe/Berln' },
    'quotas[1].timezone expected an IANA time zone that this runtime knows, as Europe/Berlin',
  ),
  fault(
    { 'quotas[4].by': ['group', 'tenant', 'tenant'] },
    'quotas[4].by[2] expected a dimension that no earlier entry has',
  ),
  fault({ 'quotas[6].groups': ['r'] }, 'quotas[6].groups expected to be left out, or group in by', [
    'quotas[6].by',
  ]),
  fault(
    { 'quotas[7].groups': undefined },
    'quotas[7].groups expected a list of the groups to count by, since by holds group',
  ),
  fault(
    { 'quotas[5].models': ['mistrall'] },
    'quotas[5].models[0] expected a pattern that matches a model of this file',
    ['models'],
  ),

  malformed('inspection.injection.threshold', 90, 'a number from 0 to 1'),
  malformed('inspection.secrets', 'off', 'a mapping'),
  malformed('inspection.prohibited[0].action', 'refuse', 'one of block, flag, shadow, off'),
  malformed(
    'inspection.prohibited[1].patterns[1]',
    '',
    'a regular expression of 1 to 512 characters',
  ),
  fault(
    { 'inspection.personal-data.kinds': [] },
    'inspection.personal-data.kinds expected at least one kind, or action: off',
    ['inspection.personal-data.action'],
  ),
  fault(
    { 'inspection.prohibited[3].name': 'rivals' },
    'inspection.prohibited[3].name expected a list name that no earlier entry has',
    ['inspection.prohibited[1].name'],
  ),
  fault(
    { 'inspection.prohibited[2].phrases': [] },
    'inspection.prohibited[2] expected at least one phrase or pattern',
    ['inspection.prohibited[2].patterns'],
  ),
  fault(
    {
      'inspection.prohibited[3].patterns': Array.from(
        { length: 98 },
        (_, index) => `p${String(index)}`,
      ),
    },
    'inspection.prohibited expected at most 100 patterns in all lists together, not 101: each is another pass over every prompt',
    ['inspection.prohibited[0].patterns', 'inspection.prohibited[1].patterns'],
  ),
  fault(
    { 'inspection.prohibited[0].patterns': ['(?=a)'] },
    'inspection.prohibited[0].patterns[0] expected a pattern in RE2 syntax (no look-around, no back-references)',
  ),
]
