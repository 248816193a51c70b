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

export const sequenceRules: readonly SequenceRule[] = (
  [
    ['override_instructions', 'override prior instructions', 24, 0.99],
    ['override_instructions', 'override instructions prior', 16, 0.99],
    ['override_instructions', 'prior instructions override', 20, 0.97],
    ['override_instructions', 'instructions prior override', 16, 0.9],
    ['override_instructions', 'override everythingBefore', 8, 0.97],
    ['override_instructions', 'everythingBefore override', 8, 0.85],
    ['override_instructions', 'override whole guards', 12, 0.9],
    ['override_instructions', 'whole guards override', 12, 0.7],
    ['override_instructions', 'override guards', 4, 0.65],
    ['reveal_prompt', 'reveal ownPrompt', 24, 0.99],
    ['reveal_prompt', 'ownPrompt reveal', 12, 0.95],
    ['reveal_prompt', 'ask ownPrompt', 20, 0.91],
    ['reveal_prompt', 'ownPrompt', 0, 0.5],
    ['reveal_prompt', 'reveal systemPrompt', 24, 0.75],
    ['reveal_prompt', 'systemPrompt reveal', 12, 0.7],
    ['reveal_prompt', 'systemPrompt', 0, 0.3],
    ['reveal_prompt', 'reveal secretThing', 24, 0.65],
    ['role_hijack', 'becomes lawless', 160, 0.95],
    ['role_hijack', 'becomes persona', 80, 0.95],
    ['role_hijack', 'becomes chatbot', 60, 0.5],
    ['role_hijack', 'plays lawless', 160, 0.8],
    ['role_hijack', 'plays persona', 80, 0.83],
    ['role_hijack', 'plays personaHint', 40, 0.63],
    ['role_hijack', 'becomes plays', 60, 0.5],
    ['role_hijack', 'becomes', 0, 0.26],
    ['jailbreak_persona', 'persona', 0, 0.75],
    ['jailbreak_persona', 'personaHint', 0, 0.26],
    ['jailbreak_persona', 'lawless', 0, 0.57],
    ['jailbreak_persona', 'lawlessHint', 0, 0.13],
    ['jailbreak_persona', 'lawless chatbot', 80, 0.63],
    ['jailbreak_persona', 'chatbot lawless', 80, 0.63],
    ['jailbreak_persona', 'chatbot', 0, 0.1],
    ['refusal_suppression', 'noRefusal', 0, 0.63],
    ['refusal_suppression', 'inCharacter', 0, 0.22],
    ['refusal_suppression', 'forcedStart', 0, 0.57],
    ['refusal_suppression', 'onlySay', 0, 0.3],
    ['addresses_model', 'toModel', 0, 0.92],
    ['addresses_model', 'toModelHint', 0, 0.35],
    ['new_task', 'newTask', 0, 0.8],
    ['new_task', 'newTaskHint', 0, 0.26],
    ['conceals', 'conceal', 0, 0.6],
    ['tool_abuse', 'act', 0, 0.3],
  ] as const
).map(([rule, steps, gapUnits, weight]) => ({
  rule,
  steps: steps.split(' ') as Meaning[],
  gapUnits,
  weight,
}))

/** Marks that end the text of one speaker and begin that of another; matched unit for unit in the folded form. */
interface TurnMark {
  readonly mark: string
  readonly weight: number
}

const turnMarks: readonly TurnMark[] = [
  ...markList(0.2, ['\nuser:', '\nai:', '\nhuman:']),
  ...markList(0.3, ['\nassistant:', '\nsystem:', '"role":"system"', '"role": "system"']),
  ...markList(0.65, [
    '<system>',
    '</system>',
    '[system]',
    '[/system]',
    '[system:',
    '[system message',
    '[system notice',
  ]),
  ...markList(0.65, [
    '[system override',
    '[system prompt',
    '\nsystem notice',
    '\nsystem override',
    'developer message:',
  ]),
  ...markList(0.65, [
    '<!-- assistant',
    '<!-- system',
    '<!-- ai',
    '### system',
    '### new task',
    '### new instruction',
  ]),
  ...markList(0.65, [
    '### instruction',
    '***override',
    '[developer',
    '[admin',
    '<admin>',
    '[inject',
    '[hidden',
    '[[important',
  ]),
  ...markList(0.5, [
    'end of document\n',
    'end of prompt',
    'end of system prompt',
    'end of context',
    '<important>',
    '[important',
  ]),
]

function markList(weight: number, marks: readonly string[]): readonly TurnMark[] {
  return marks.map((mark) => ({ mark, weight }))
}

const turnAutomaton = compileLiterals(turnMarks.map(({ mark }) => mark))

/** @returns the steps it took */
export function findTurnMarks(
  folded: string,
  onMark: (mark: { number: number; weight: number }, start: number, end: number) => void,
): number {
  return turnAutomaton.scan(folded, (pattern, end) => {
    const found = turnMarks[pattern]
    if (found === undefined) return
    onMark({ number: pattern, weight: found.weight }, end - found.mark.length, end)
  })
}
