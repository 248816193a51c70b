import { compileLiterals } from '../aho-corasick.js'
import type { Detector } from '../detector.js'

/**
 * Marks of chat templates, by the family that reads them, in folded form (lower case, full-width bars as `|`).
 * In a prompt they forge a turn, a role or a tool's answer wherever an engine parses special tokens in text.
 * All marks of the form `<|name|>` are found by their shape: ChatML and Qwen, Llama 3 and 4, Phi, DeepSeek,
 * Command R, harmony, GLM and Kimi.
 */
const families: Readonly<Record<string, readonly string[]>> = {
  // Llama 2 and the first Mistral; the same words in square brackets since.
  llama2: ['[inst]', '[/inst]', '<<sys>>', '<</sys>>'],
  mistral: [
    ...['[system_prompt]', '[/system_prompt]', '[available_tools]', '[/available_tools]'],
    ...['[tool_calls]', '[tool_results]', '[/tool_results]', '[tool_content]'],
  ],
  gemma: ['<start_of_turn>', '<end_of_turn>', '<|turn>', '<turn|>', '<|channel>', '<channel|>'],
  command_r: ['<bos_token>', '<eos_token>'],
  // Qwen and Hermes: one entry each in the vocabulary.
  qwen: ['<tool_call>', '</tool_call>', '<tool_response>', '</tool_response>'],
  glm: ['[gmask]', '<sop>'],
}

/** Longest name between `<|` and `|>` that any known template uses is 27 units; a longer one is not a mark. */
const MAX_NAME_UNITS = 40

interface Mark {
  readonly rule: string
  readonly text: string
}

/** Control tokens of chat templates, also written with look-alikes or cut by invisible characters. */
export function createControlTokensDetector(): Detector {
  const marks: readonly Mark[] = [
    ...Object.entries(families).flatMap(([rule, texts]) => texts.map((text) => ({ rule, text }))),
    { rule: 'delimited', text: '<|' },
  ]
  const automaton = compileLiterals(marks.map(({ text }) => text))
  return {
    name: 'control-tokens',
    category: 'control_tokens',
    detect: (view, _segment, report) => {
      const folded = view.folded
      return automaton.scan(folded, (pattern, end) => {
        const mark = marks[pattern]
        if (mark === undefined) return
        const start = end - mark.text.length
        if (mark.rule !== 'delimited') {
          report({ rule: mark.rule, level: 'folded', start, end, score: 1 })
          return
        }
        const after = endOfDelimited(folded, end)
        if (after !== -1) report({ rule: mark.rule, level: 'folded', start, end: after, score: 1 })
      })
    },
  }
}

/** @param from offset after `<|` @returns the offset after `|>`, or -1 where no name is enclosed */
function endOfDelimited(folded: string, from: number): number {
  for (let index = from; index <= from + MAX_NAME_UNITS; index++) {
    const unit = folded.charCodeAt(index)
    if (unit === 0x7c) return index > from && folded.charCodeAt(index + 1) === 0x3e ? index + 2 : -1
    if (!isNameUnit(unit)) return -1
  }
  return -1
}

/** Letters, digits, `_`, `-`, `:`. What DeepSeek's marks have between words (U+2581) is `_` in the folded form. */
function isNameUnit(unit: number): boolean {
  return (
    (unit >= 0x61 && unit <= 0x7a) ||
    (unit >= 0x30 && unit <= 0x3a) ||
    unit === 0x5f ||
    unit === 0x2d
  )
}
