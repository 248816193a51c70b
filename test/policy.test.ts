import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { isDenial } from '../src/denial.js'
import type { Finding } from '../src/inspection/finding.js'
import { actionOf } from '../src/inspection/rules.js'
import type { AskSummary } from '../src/llm/ask.js'
import { holdsFor } from '../src/holds.js'
import { admitAsk, admitPath, judge, matchesPattern } from '../src/policy.js'
import type { PartitionDimension } from '../src/quota/quota.js'
import type { Grant } from '../src/policy.js'
import { alice, examplePolicy } from './example-policy.js'
import { runs } from './runs.js'

const ask: AskSummary = {
  dialect: 'openai',
  model: 'llama-70b',
  outputCapTokens: 100,
  choices: 1,
  stream: false,
  streamUsage: false,
  rewritable: true,
  failsLate: false,
  candidatesPerChoice: 1,
  runningUsage: false,
  withholdsTokens: false,
  teachesRates: true,
  unknownFields: [],
  guardedFields: [],
  markupTokens: 8,
  segmentCount: 1,
  segmentBytes: 10,
}

const grant: Grant = {
  name: 'research',
  tenants: [],
  groups: ['research'],
  clients: [],
  anyone: false,
  models: ['llama-*'],
  paths: ['/v1/models'],
  maxOutputTokens: 1000,
  fields: [],
  unlimited: false,
}

function policyWith(changes: Partial<Grant>, model: object = {}) {
  return examplePolicy({
    grants: [{ ...grant, ...changes }],
    models: examplePolicy().models.map((each) => ({ ...each, ...model })),
  })
}

function reasonOf(answer: object): string | undefined {
  return isDenial(answer) ? answer.reason : undefined
}

describe('a pattern', () => {
  test('agrees with the regular expression it stands for', () => {
    const letters = fc.string({ unit: fc.constantFrom('a', 'b', '-', '*', '.'), maxLength: 8 })
    const names = fc.string({ unit: fc.constantFrom('a', 'b', '-', '.'), maxLength: 10 })
    fc.assert(
      fc.property(letters, names, (pattern, name) => {
        const source = pattern
          .split('*')
          .map((part) => part.replace(/[.-]/g, '\\$&'))
          .join('.*')
        expect(matchesPattern(pattern, name)).toBe(new RegExp(`^${source}$`).test(name))
      }),
      { numRuns: runs(5000) },
    )
  })
})

describe('a grant of a model', () => {
  test('admits the caller, the model and the output that it names', () => {
    expect(admitAsk(policyWith({}), alice, ask)).toMatchObject({
      kind: 'admitted',
      outputTokens: 100,
      injectCapTokens: undefined,
      injectStreamUsage: false,
    })
  })

  test.each([
    ['another group', { groups: ['sales'] }],
    ['another tenant', { groups: [], tenants: ['other'] }],
    ['another client', { groups: [], clients: ['other'] }],
    ['group and tenant, of which only one is the caller', { tenants: ['other'] }],
    ['another model', { models: ['qwen-*'] }],
    ['no model', { models: [] }],
  ])('does not cover the caller when it names %s', (_name, changes) => {
    const answer = admitAsk(policyWith(changes), alice, ask)
    expect(reasonOf(answer)).toBe('model_not_granted')
  })

  test('answers the same for a model that does not exist as for one that is not granted', () => {
    const missing = admitAsk(policyWith({}), alice, { ...ask, model: 'nobody' })
    const notGranted = admitAsk(policyWith({ models: ['qwen-*'] }), alice, ask)
    expect(
      isDenial(missing) && isDenial(notGranted) && missing.message === notGranted.message,
    ).toBe(true)
  })

  test('without a client does not cover a caller when clients are listed', () => {
    const nameless = { ...alice, client: undefined }
    const answer = admitAsk(policyWith({ groups: [], clients: ['app'] }), nameless, ask)
    expect(reasonOf(answer)).toBe('model_not_granted')
  })

  test('refuses an unknown field and names it, until the model lists it', () => {
    const strange = { ...ask, unknownFields: ['frobnicate'] }
    const refused = admitAsk(policyWith({}), alice, strange)
    expect(refused).toMatchObject({ reason: 'field_unknown', param: 'frobnicate' })
    expect(isDenial(refused) && refused.message).toContain('extraFields')
    expect(admitAsk(policyWith({}, { extraFields: ['frobnicate'] }), alice, strange).kind).toBe(
      'admitted',
    )
    expect(admitAsk(policyWith({}, { extraFields: ['*'] }), alice, strange).kind).toBe('admitted')
  })

  test('refuses a field that steers the engine, until a grant names it', () => {
    const steering = { ...ask, guardedFields: ['priority'] }
    const refused = admitAsk(policyWith({}, { extraFields: ['*'] }), alice, steering)
    expect(refused).toMatchObject({ reason: 'field_not_granted', param: 'priority' })
    expect(admitAsk(policyWith({ fields: ['priority'] }), alice, steering).kind).toBe('admitted')
  })

  test('says what to ask for in place of a guarded field, where there is something', () => {
    const refused = admitAsk(policyWith({}), alice, {
      ...ask,
      guardedFields: ['continuous_usage_stats'],
    })
    expect(isDenial(refused) && refused.message).toBe(
      'The field or content "continuous_usage_stats" needs a grant of its own. Leave it out and ask for ' +
        'stream_options.include_usage alone, or ask the operator to add it to fields of your grant.',
    )
  })

  test('falls through to the next grant that covers the caller', () => {
    const policy = examplePolicy({
      grants: [grant, { ...grant, name: 'more', maxOutputTokens: 5000 }],
    })
    const answer = admitAsk(policy, alice, { ...ask, outputCapTokens: 4000 })
    expect(answer).toMatchObject({ kind: 'admitted', grant: { name: 'more' } })
  })
})

describe('the output', () => {
  test('may be as large as the grant for all choices together, and no larger', () => {
    const policy = policyWith({})
    expect(admitAsk(policy, alice, { ...ask, outputCapTokens: 1000 }).kind).toBe('admitted')
    expect(reasonOf(admitAsk(policy, alice, { ...ask, outputCapTokens: 1001 }))).toBe(
      'output_cap_too_large',
    )
    const many = { ...ask, outputCapTokens: 501, choices: 2 }
    expect(reasonOf(admitAsk(policy, alice, many))).toBe('output_cap_too_large')
  })

  test('without a cap gets the share of each choice of what is granted', () => {
    const answer = admitAsk(policyWith({}), alice, {
      ...ask,
      outputCapTokens: undefined,
      choices: 3,
    })
    expect(answer).toMatchObject({ outputTokens: 333, injectCapTokens: 333 })
  })

  test('without a cap gets the default of the model when the grant names no number', () => {
    const policy = policyWith({ maxOutputTokens: undefined })
    const answer = admitAsk(policy, alice, { ...ask, outputCapTokens: undefined })
    expect(answer).toMatchObject({ injectCapTokens: 1024 })
  })

  test('without a cap is refused when the model requires one, or when the body cannot be rewritten', () => {
    const open = { ...ask, outputCapTokens: undefined }
    expect(reasonOf(admitAsk(policyWith({}, { uncapped: 'require' }), alice, open))).toBe(
      'output_cap_required',
    )
    const exact = { ...open, rewritable: false }
    expect(reasonOf(admitAsk(policyWith({}), alice, exact))).toBe('output_cap_required')
  })

  test('without a cap takes the rest of the context where the model says reserve', () => {
    const open = { ...ask, outputCapTokens: undefined, rewritable: false }
    const policy = policyWith({ maxOutputTokens: undefined }, { uncapped: 'reserve' })
    const answer = admitAsk(policy, alice, open)
    expect(answer).toMatchObject({ outputTokens: undefined, injectCapTokens: undefined })
  })

  test('without a cap is refused there when the grant names less than the context', () => {
    const open = { ...ask, outputCapTokens: undefined }
    const reserve = { uncapped: 'reserve', contextTokens: 1000 }
    expect(admitAsk(policyWith({}, reserve), alice, open).kind).toBe('admitted')
    const twice = admitAsk(policyWith({}, reserve), alice, { ...open, choices: 2 })
    expect(reasonOf(twice)).toBe('output_cap_required')
    const large = admitAsk(policyWith({}, { ...reserve, contextTokens: 1001 }), alice, open)
    expect(reasonOf(large)).toBe('output_cap_required')
  })

  test('is refused when more choices are asked for than tokens are granted', () => {
    const answer = admitAsk(policyWith({}), alice, {
      ...ask,
      outputCapTokens: undefined,
      choices: 1001,
    })
    expect(reasonOf(answer)).toBe('output_cap_too_large')
  })
})

describe('usage in a stream', () => {
  const stream = { ...ask, stream: true }

  test('is asked for where the caller did not, and required where the body cannot be rewritten', () => {
    const policy = policyWith({}, { streamUsage: 'inject' })
    expect(admitAsk(policy, alice, stream)).toMatchObject({ injectStreamUsage: true })
    expect(admitAsk(policy, alice, { ...stream, streamUsage: true })).toMatchObject({
      injectStreamUsage: false,
    })
    expect(reasonOf(admitAsk(policy, alice, { ...stream, rewritable: false }))).toBe(
      'stream_usage_required',
    )
    const estimated = policyWith({}, { streamUsage: 'estimate' })
    expect(admitAsk(estimated, alice, { ...stream, rewritable: false })).toMatchObject({
      injectStreamUsage: false,
    })
    expect(admitAsk(policy, alice, ask)).toMatchObject({ injectStreamUsage: false })
  })

  test('is required where the model says so', () => {
    const policy = policyWith({}, { streamUsage: 'require' })
    expect(reasonOf(admitAsk(policy, alice, stream))).toBe('stream_usage_required')
    expect(admitAsk(policy, alice, { ...stream, streamUsage: true }).kind).toBe('admitted')
  })
})

describe('a grant of a path', () => {
  const path = { path: '/v1/models', method: 'GET', pool: 'gpu-a', public: false }

  test('admits the paths that it lists and no others', () => {
    expect(admitPath(policyWith({}), alice, path)).toBeUndefined()
    expect(admitPath(policyWith({}), alice, { ...path, path: '/v1/other' })?.reason).toBe(
      'path_not_granted',
    )
    expect(admitPath(policyWith({ groups: ['sales'] }), alice, path)?.reason).toBe(
      'path_not_granted',
    )
  })
})

describe('the quotas that bind', () => {
  const request = { path: '/v1/chat/completions', peer: '' }

  test('are those without models, and those whose models match', () => {
    const quota = examplePolicy().quotas[0]
    if (quota === undefined) throw new Error('the example has a quota')
    const policy = examplePolicy({
      quotas: [
        { ...quota, name: 'all' },
        { ...quota, name: 'llama', models: ['llama-*'] },
        { ...quota, name: 'qwen', models: ['qwen-*'] },
      ],
    })
    const model = policy.models[0]
    if (model === undefined) throw new Error('the example has a model')
    const holds = holdsFor(policy, alice, model, { inputTokens: 3, outputTokens: 4 }, request)
    expect(holds.map((hold) => [hold.quota.name, hold.amount])).toEqual([
      ['all', 7],
      ['llama', 7],
    ])
  })

  test('hold each unit by what it counts, cost by the prices of the model', () => {
    const { quotas, models } = examplePolicy()
    const [quota, model] = [quotas[0], models[0]]
    if (quota === undefined || model === undefined) throw new Error('the example has both')
    const units = [
      'tokens',
      'input_tokens',
      'output_tokens',
      'requests',
      'in_flight',
      'cost',
    ] as const
    const policy = examplePolicy({ quotas: units.map((unit) => ({ ...quota, name: unit, unit })) })
    const prices = {
      inputPicos: 2_000_000,
      cachedInputPicos: 1,
      cacheWritePicos: 3_000_000,
      outputPicos: 10_000_000,
    }
    const holds = holdsFor(
      policy,
      alice,
      { ...model, prices },
      { inputTokens: 30, outputTokens: 4 },
      request,
    )
    expect(holds.map(({ amount }) => amount)).toEqual([34, 30, 4, 1, 1, 30 * 3 + 4 * 10])
  })

  test('count a request by its path, its pool, the peer that Envoy verified and its claims', () => {
    const { quotas, models } = examplePolicy()
    const [quota, model] = [quotas[0], models[0]]
    if (quota === undefined || model === undefined) throw new Error('the example has both')
    const claims = new Map([['department', 'physics']])
    const keyOf = (
      dimension: PartitionDimension,
      changes: Partial<typeof request> = {},
      { pool = 'gpu-a', department = 'physics' } = {},
    ): string | undefined => {
      const policy = examplePolicy({ quotas: [{ ...quota, by: ['tenant', dimension] }] })
      const caller = { ...alice, claims: new Map(claims).set('department', department) }
      const served = { ...model, pool }
      const estimate = { inputTokens: 1, outputTokens: 1 }
      return holdsFor(policy, caller, served, estimate, { ...request, ...changes })[0]?.partitionKey
    }
    const peer = 'spiffe://acme.example/ci'
    expect(keyOf('route')).not.toBe(keyOf('route', { path: '/v1/messages' }))
    expect(keyOf('route')).toBe(keyOf('route', { peer }))
    expect(keyOf('spiffe')).not.toBe(keyOf('spiffe', { peer }))
    expect(keyOf('spiffe')).toBe(keyOf('spiffe', { peer: 'CN=ci' }))
    expect(keyOf('spiffe', { peer })).toBe(keyOf('spiffe', { peer, path: '/v1/messages' }))
    expect(keyOf('pool')).not.toBe(keyOf('pool', {}, { pool: 'gpu-b' }))
    const other = { department: 'chemistry' }
    expect(keyOf('claim:department')).not.toBe(keyOf('claim:department', {}, other))
    expect(keyOf('claim:level')).toBe(keyOf('claim:level', {}, other))
  })

  test('count a model once for all its names, and no two models together', () => {
    const [quota] = examplePolicy().quotas
    const [model] = examplePolicy().models
    if (quota === undefined || model === undefined) throw new Error('the example has both')
    const policy = examplePolicy({ quotas: [{ ...quota, by: ['tenant', 'model'] }] })
    const keyOf = (name: string): string | undefined =>
      holdsFor(policy, alice, { ...model, name }, { inputTokens: 1, outputTokens: 1 }, request)[0]
        ?.partitionKey
    expect(keyOf('llama-70b')).toBe(keyOf('llama-70b'))
    expect(keyOf('llama-70b')).not.toBe(keyOf('llama-8b'))
    const named = (name: string) => admitAsk(policy, alice, { ...ask, model: name })
    expect(named('llama')).toEqual(named('llama-70b'))
  })
})

describe('the judgement of findings', () => {
  const finding: Finding = {
    category: 'secrets',
    rule: 'aws_access_key',
    provenance: 'tool',
    segment: 3,
    span: [5, 25],
    score: 1,
    action: 'block',
  }

  test('refuses what the policy blocks, and says where it was without a word of it', () => {
    const denial = judge([finding])
    expect(denial).toMatchObject({
      reason: 'secret_found',
      detail: 'secrets/aws_access_key in segment 3 (tool)',
    })
  })

  test('lets pass what the policy only flags', () => {
    const { inspection } = examplePolicy()
    const action = actionOf(inspection, 'personal_data', 'iban')
    expect(action).toBe('flag')
    expect(judge([{ ...finding, category: 'personal_data', action }])).toBeUndefined()
  })

  test('blocks an unknown prohibited list', () => {
    const action = actionOf(examplePolicy().inspection, 'prohibited', 'gone')
    const denial = judge([{ ...finding, category: 'prohibited', rule: 'gone', action }])
    expect(denial?.reason).toBe('prohibited_content')
  })
})
