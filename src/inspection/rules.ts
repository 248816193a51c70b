import type { Action, Category } from './finding.js'

export type { Action } from './finding.js'

export type PersonalDataKind = 'credit_card' | 'iban' | 'us_ssn' | 'email' | 'phone'

/** A prohibited list of the policy: literal phrases, and patterns of the linear engine. */
export interface ProhibitedRule {
  readonly name: string
  readonly action: Action
  readonly phrases: readonly string[]
  readonly patterns: readonly string[]
}

/** What inspection looks for and what a finding leads to. Plain data: it crosses into worker threads. */
export interface InspectionRules {
  readonly injection: {
    readonly action: Action
    /** Findings below it are dropped, 0 to 1. */
    readonly threshold: number
    /** The same for tool results and documents. */
    readonly untrustedThreshold: number
  }
  readonly controlTokens: { readonly action: Action }
  readonly secrets: { readonly action: Action }
  readonly personalData: { readonly action: Action; readonly kinds: readonly PersonalDataKind[] }
  readonly prohibited: readonly ProhibitedRule[]
}

/** The action of a category; of a prohibited list, by its name. */
export function actionOf(rules: InspectionRules, category: Category, rule: string): Action {
  switch (category) {
    case 'injection':
      return rules.injection.action
    case 'control_tokens':
      return rules.controlTokens.action
    case 'secrets':
      return rules.secrets.action
    case 'personal_data':
      return rules.personalData.action
    case 'prohibited':
      return rules.prohibited.find((list) => list.name === rule)?.action ?? 'block'
  }
}
