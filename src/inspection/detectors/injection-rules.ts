import { compileLiterals } from '../aho-corasick.js'
import type { Meaning } from './injection-lexicon.js'

/** What kind of attack a piece of evidence points to; the name is the finding's rule. */
export type InjectionRule =
  | 'override_instructions'
  | 'reveal_prompt'
  | 'role_hijack'
  | 'jailbreak_persona'
  | 'refusal_suppression'
  | 'addresses_model'
  | 'new_task'
  | 'conceals'
  | 'tool_abuse'
  | 'fake_turn'
  | 'hidden_text'

/** Meanings that must follow each other, each within `gapUnits` of the one before. */
export interface SequenceRule {
  readonly rule: InjectionRule
  readonly steps: readonly Meaning[]
  readonly gapUnits: number
  /** How sure one occurrence alone makes, 0 to 1. */
  readonly weight: number
}

export const sequenceRules: readonly SequenceRule[] = [
  {
    rule: 'override_instructions',
    steps: ['override', 'prior', 'instructions'],
    gapUnits: 24,
    weight: 0.92,
  },
  {
    rule: 'override_instructions',
    steps: ['override', 'instructions', 'prior'],
    gapUnits: 16,
    weight: 0.9,
  },
  {
    rule: 'override_instructions',
    steps: ['prior', 'instructions', 'override'],
    gapUnits: 16,
    weight: 0.8,
  },
  {
    rule: 'override_instructions',
    steps: ['instructions', 'prior', 'override'],
    gapUnits: 12,
    weight: 0.8,
  },
  {
    rule: 'override_instructions',
    steps: ['override', 'everythingBefore'],
    gapUnits: 8,
    weight: 0.8,
  },
  {
    rule: 'override_instructions',
    steps: ['override', 'whole', 'instructions'],
    gapUnits: 16,
    weight: 0.7,
  },
  {
    rule: 'override_instructions',
    steps: ['everythingBefore', 'override'],
    gapUnits: 8,
    weight: 0.7,
  },
  { rule: 'reveal_prompt', steps: ['reveal', 'systemPrompt'], gapUnits: 32, weight: 0.7 },
  { rule: 'reveal_prompt', steps: ['systemPrompt', 'reveal'], gapUnits: 12, weight: 0.6 },
  { rule: 'reveal_prompt', steps: ['systemPrompt'], gapUnits: 0, weight: 0.3 },
  { rule: 'reveal_prompt', steps: ['reveal', 'secretThing'], gapUnits: 24, weight: 0.3 },
  { rule: 'role_hijack', steps: ['becomes', 'lawless'], gapUnits: 120, weight: 0.6 },
  { rule: 'role_hijack', steps: ['becomes', 'persona'], gapUnits: 60, weight: 0.6 },
  { rule: 'role_hijack', steps: ['becomes', 'chatbot'], gapUnits: 40, weight: 0.2 },
  { rule: 'jailbreak_persona', steps: ['persona'], gapUnits: 0, weight: 0.3 },
  { rule: 'jailbreak_persona', steps: ['lawless'], gapUnits: 0, weight: 0.2 },
  { rule: 'jailbreak_persona', steps: ['lawless', 'chatbot'], gapUnits: 60, weight: 0.4 },
  { rule: 'refusal_suppression', steps: ['noRefusal'], gapUnits: 0, weight: 0.35 },
  { rule: 'refusal_suppression', steps: ['forcedStart'], gapUnits: 0, weight: 0.35 },
  { rule: 'addresses_model', steps: ['toModel'], gapUnits: 0, weight: 0.6 },
  { rule: 'new_task', steps: ['newTask'], gapUnits: 0, weight: 0.5 },
  { rule: 'conceals', steps: ['conceal'], gapUnits: 0, weight: 0.3 },
  { rule: 'tool_abuse', steps: ['act'], gapUnits: 0, weight: 0.1 },
]

/** Marks that end the text of one speaker and begin that of another; matched unit for unit in the folded form. */
export const turnMarks: readonly { readonly mark: string; readonly weight: number }[] = [
  ...['\nsystem:', '\nassistant:', '\nhuman:', '\nai:', '\nuser:', '\nsystem notice'].map(
    (mark) => ({ mark, weight: 0.35 }),
  ),
  ...[
    '"role":"system"',
    '"role": "system"',
    '<system>',
    '</system>',
    '[system]',
    '[/system]',
    '<|system|>',
    '[system notice',
    '[system:',
    '<important>',
    '[system message',
    '[system override',
    '[system prompt',
    '<!-- assistant',
    '<!-- system',
    '<!-- ai',
    '### system',
    '### new task',
    '### instruction',
    '### new instruction',
    '***override',
    'end of document',
    'end of prompt',
    'end of system prompt',
    'end of context',
    'end of user',
    '[end',
    '---end',
    '--- end',
    '[developer',
    'developer message:',
    '[admin',
    '<admin>',
    'system_footer',
    '[inject',
    '[hidden',
    'begin new',
    '[important',
    '[[important',
  ].map((mark) => ({ mark, weight: 0.5 })),
]

const turnAutomaton = compileLiterals(turnMarks.map(({ mark }) => mark))

/** @returns the steps it took */
export function findTurnMarks(
  folded: string,
  onMark: (weight: number, start: number, end: number) => void,
): number {
  return turnAutomaton.scan(folded, (pattern, end) => {
    const found = turnMarks[pattern]
    if (found !== undefined) onMark(found.weight, end - found.mark.length, end)
  })
}
