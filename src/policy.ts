import { deny, safeName } from './denial.js'
import type { Denial, Reason } from './denial.js'
import type { ApiKey } from './identity/api-keys.js'
import type { Issuer } from './identity/issuer.js'
import type { Principal } from './identity/principal.js'
import type { Category, Finding } from './inspection/finding.js'
import type { InspectionRules } from './inspection/rules.js'
import type { AskSummary } from './llm/ask.js'
import { dialectNamed } from './llm/dialects.js'
import type { Model } from './llm/model.js'
import type { PolicyQuota } from './quota/limits.js'
import type { Quota } from './quota/quota.js'

/** Who may call what, with how much output. Default deny: nothing is allowed that no grant allows. */
export interface Grant {
  /** Name for records and messages; `grants[2]` if the file gives none. */
  readonly name: string
  /** Each list that is not empty must hold the caller; at least one list is not empty, or `anyone` is true. */
  readonly tenants: readonly string[]
  readonly groups: readonly string[]
  readonly clients: readonly string[]
  readonly anyone: boolean
  /** Model name patterns, `*` matches any run of characters. */
  readonly models: readonly string[]
  /** Paths without a model that it admits, exact. */
  readonly paths: readonly string[]
  /** Largest output the caller may reserve, for all choices together; undefined: the model's default is the cap. */
  readonly maxOutputTokens: number | undefined
  /** Guarded fields that it admits, or `*`. */
  readonly fields: readonly string[]
  /** True says that no token quota needs to bind it. */
  readonly unlimited: boolean
}

/** A path that names no model: exact path and method, no body, no reservation. */
export interface PlainPath {
  readonly path: string
  readonly method: string
  readonly pool: string
  readonly public: boolean
}

/** Everything that decides a request, read whole from one file and never changed: one generation per decision. */
export interface Policy {
  /** First 12 hex digits of the SHA-256 of the file: the same file is the same generation everywhere. */
  readonly generation: string
  readonly issuers: readonly Issuer[]
  readonly apiKeys: readonly ApiKey[]
  readonly models: readonly Model[]
  readonly paths: readonly PlainPath[]
  readonly grants: readonly Grant[]
  readonly quotas: readonly PolicyQuota[]
  readonly inspection: InspectionRules
  readonly maxBodyBytes: number
  readonly leaseMs: number
  readonly maxStreamMs: number
  /** Pass the caller's own credential on to the engine. */
  readonly keepCredential: boolean
}

/** A model call that a grant allows, with the numbers that follow from it. */
export interface Admitted {
  readonly kind: 'admitted'
  readonly model: Model
  readonly grant: Grant
  /** Output tokens for one choice, known before the input is counted; undefined: the rest of the context. */
  readonly outputTokens: number | undefined
  /** Put this cap into the body, since the caller named none. */
  readonly injectCapTokens: number | undefined
  /** Ask for usage in the stream, since the caller did not. */
  readonly injectStreamUsage: boolean
}

/** Does the pattern, in which `*` matches any run of characters, match the whole name? Linear in both. */
export function matchesPattern(pattern: string, name: string): boolean {
  const parts = pattern.split('*')
  const first = parts[0] ?? ''
  const last = parts.at(-1) ?? ''
  if (parts.length === 1) return pattern === name
  if (name.length < first.length + last.length) return false
  if (!name.startsWith(first) || !name.endsWith(last)) return false
  let from = first.length
  const end = name.length - last.length
  for (const part of parts.slice(1, -1)) {
    const at = name.indexOf(part, from)
    if (at === -1 || at + part.length > end) return false
    from = at + part.length
  }
  return true
}

function coversCaller(grant: Grant, principal: Principal): boolean {
  const holds = (list: readonly string[], values: readonly string[]): boolean =>
    list.length === 0 || values.some((value) => list.includes(value))
  return (
    holds(grant.tenants, [principal.tenant]) &&
    holds(grant.groups, principal.groups) &&
    holds(grant.clients, principal.client === undefined ? [] : [principal.client])
  )
}

function grantsModel(grant: Grant, model: Model): boolean {
  return grant.models.some((pattern) => matchesPattern(pattern, model.name))
}

export function findModel(policy: Policy, name: string): Model | undefined {
  return policy.models.find((model) => model.name === name || model.aliases.includes(name))
}

export function findPlainPath(policy: Policy, path: string): readonly PlainPath[] {
  return policy.paths.filter((plain) => plain.path === path)
}

/** May this caller use a path that names no model? */
export function admitPath(
  policy: Policy,
  principal: Principal,
  path: PlainPath,
): Denial | undefined {
  const granted = policy.grants.some(
    (grant) => grant.paths.includes(path.path) && coversCaller(grant, principal),
  )
  if (granted) return undefined
  return deny(
    'path_not_granted',
    'You may not call this path. Ask the operator for a grant of it.',
    {
      detail: `no grant of the caller lists the path ${path.path}`,
    },
  )
}

/**
 * May this caller have what it asks for? Of several grants of the same model the first in the file that
 * admits the request decides; when none does, the refusal is that of the first that covers caller and model.
 */
export function admitAsk(policy: Policy, principal: Principal, ask: AskSummary): Admitted | Denial {
  const model = findModel(policy, ask.model)
  const grants =
    model === undefined
      ? []
      : policy.grants.filter((grant) => coversCaller(grant, principal) && grantsModel(grant, model))
  // One answer for "no such model" and "not yours": a caller learns nothing about what others use.
  if (model === undefined || grants.length === 0) {
    return deny(
      'model_not_granted',
      'You may not use this model, or it does not exist. Choose one that you were granted, or ask the operator for a grant.',
      {
        param: 'model',
        detail:
          model === undefined
            ? 'the policy has no such model'
            : 'no grant of the caller covers the model',
      },
    )
  }
  const unknown = ask.unknownFields.find(
    (field) => !model.extraFields.includes('*') && !model.extraFields.includes(field),
  )
  if (unknown !== undefined) {
    const name = safeName(unknown)
    return deny(
      'field_unknown',
      `The field "${name}" is not known here. Leave it out, or ask the operator to add it to extraFields of this model.`,
      { param: name, detail: `models[${model.name}].extraFields does not list the field` },
    )
  }
  let refusal: Denial | undefined
  for (const grant of grants) {
    const answer = admitUnder(grant, model, ask)
    if (answer.kind === 'admitted') return answer
    refusal ??= answer
  }
  return refusal ?? deny('model_not_granted', 'You may not use this model.')
}

function admitUnder(grant: Grant, model: Model, ask: AskSummary): Admitted | Denial {
  const guarded = ask.guardedFields.find(
    (field) => !grant.fields.includes('*') && !grant.fields.includes(field),
  )
  if (guarded !== undefined) {
    const name = safeName(guarded)
    const instead = dialectNamed(ask.dialect).insteadOf?.get(guarded)
    const leaveItOut = `Leave it out${instead === undefined ? '' : ` and ${instead}`}`
    return deny(
      'field_not_granted',
      `The field or content "${name}" needs a grant of its own. ${leaveItOut}, or ask the operator to add it to fields of your grant.`,
      // The names that need a grant are a closed list of the dialect, so the record may tell which.
      { param: name, detail: `grant ${grant.name} does not list the field ${name}` },
    )
  }
  const capTokens = grant.maxOutputTokens ?? model.defaultOutputTokens
  if (ask.outputCapTokens !== undefined) {
    if (ask.outputCapTokens * ask.choices > capTokens) {
      return deny(
        'output_cap_too_large',
        `The request may generate ${String(ask.outputCapTokens * ask.choices)} tokens, ${String(capTokens)} are granted. Lower the output cap or the number of choices.`,
        {
          param: 'max_tokens',
          detail: `grant ${grant.name}: ${String(ask.outputCapTokens * ask.choices)} asked, ${String(capTokens)} granted`,
        },
      )
    }
    return withStreamUsage(model, grant, ask, ask.outputCapTokens, undefined)
  }
  // Where a number of the body would change on its way through Envoy's filter, `cap` acts as `require`.
  if (model.uncapped === 'require' || (model.uncapped === 'cap' && !ask.rewritable)) {
    return deny('output_cap_required', 'Name an output cap (max_tokens) in the request.', {
      param: 'max_tokens',
      detail:
        model.uncapped === 'cap'
          ? 'the body holds a number that a rewrite would change'
          : `uncapped: require`,
    })
  }
  if (model.uncapped === 'reserve') {
    // Nothing would hold the engine to what the grant names.
    const mostTokens = model.contextTokens * ask.choices
    if (grant.maxOutputTokens !== undefined && grant.maxOutputTokens < mostTokens) {
      return deny('output_cap_required', 'Name an output cap (max_tokens) in the request.', {
        param: 'max_tokens',
        detail: `grant ${grant.name} names fewer tokens than the rest of the context can have`,
      })
    }
    return withStreamUsage(model, grant, ask, undefined, undefined)
  }
  const perChoiceTokens = Math.floor(capTokens / ask.choices)
  if (perChoiceTokens < 1) {
    return deny(
      'output_cap_too_large',
      `The request asks for ${String(ask.choices)} choices, ${String(capTokens)} output tokens are granted. Ask for fewer choices.`,
      { param: 'n', detail: `grant ${grant.name}` },
    )
  }
  return withStreamUsage(model, grant, ask, perChoiceTokens, perChoiceTokens)
}

function withStreamUsage(
  model: Model,
  grant: Grant,
  ask: AskSummary,
  outputTokens: number | undefined,
  injectCapTokens: number | undefined,
): Admitted | Denial {
  const missing = ask.stream && !ask.streamUsage
  // Where a number of the body would change on its way through Envoy's filter, `inject` acts as `require`.
  const required =
    model.streamUsage === 'require' || (model.streamUsage === 'inject' && !ask.rewritable)
  if (missing && required) {
    return deny(
      'stream_usage_required',
      'Set stream_options.include_usage to true for streamed requests.',
      {
        param: 'stream_options.include_usage',
      },
    )
  }
  const injectStreamUsage = missing && model.streamUsage === 'inject'
  return { kind: 'admitted', model, grant, outputTokens, injectCapTokens, injectStreamUsage }
}

/** Does the quota bind requests for this model at all? */
export function bindsModel(quota: Quota, modelName: string): boolean {
  return (
    quota.models.length === 0 || quota.models.some((pattern) => matchesPattern(pattern, modelName))
  )
}

const refusalOf: Record<Category, { reason: Reason; message: string }> = {
  injection: {
    reason: 'prompt_injection',
    message:
      'The prompt reads like an attempt to override instructions. Rephrase it, or remove the untrusted text.',
  },
  control_tokens: {
    reason: 'control_tokens',
    message: 'The prompt contains control tokens of a chat template. Remove them.',
  },
  secrets: {
    reason: 'secret_found',
    message: 'The prompt contains a credential. Remove it, and consider it exposed.',
  },
  personal_data: {
    reason: 'personal_data_found',
    message: 'The prompt contains personal data that may not be sent to this model. Remove it.',
  },
  prohibited: {
    reason: 'prohibited_content',
    message:
      'The prompt contains content that the operator prohibits. Remove it, or ask the operator what is allowed.',
  },
}

/** What the findings lead to: the refusal of the first that blocks, if any does. */
export function judge(findings: readonly Finding[]): Denial | undefined {
  for (const finding of findings) {
    if (finding.action !== 'block') continue
    const { reason, message } = refusalOf[finding.category]
    return deny(reason, message, {
      detail: `${finding.category}/${finding.rule} in segment ${String(finding.segment)} (${finding.provenance})`,
    })
  }
  return undefined
}
