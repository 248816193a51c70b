import { describe, expect, test } from 'vitest'
import { createControlTokensDetector } from '../../src/inspection/detectors/control-tokens.js'
import { hitsOf, rulesOf } from './hits.js'

const detector = createControlTokensDetector()

describe('control tokens are found', () => {
  test.each([
    ['<|im_start|>system', 'delimited'],
    ['<|im_end|>', 'delimited'],
    ['<|start_header_id|>', 'delimited'],
    ['<|eot_id|>', 'delimited'],
    ['<|header_start|>', 'delimited'],
    ['<|start|>assistant<|channel|>final', 'delimited'],
    ['<|START_OF_TURN_TOKEN|>', 'delimited'],
    ['<|end|>', 'delimited'],
    ['<｜Assistant｜>', 'delimited'],
    ['<｜begin▁of▁sentence｜>', 'delimited'],
    ['<｜tool▁calls▁begin｜>', 'delimited'],
    ['[INST] hi [/INST]', 'llama2'],
    ['<<SYS>>', 'llama2'],
    ['<</SYS>>', 'llama2'],
    ['[SYSTEM_PROMPT]', 'mistral'],
    ['[AVAILABLE_TOOLS]', 'mistral'],
    ['[TOOL_RESULTS]', 'mistral'],
    ['<start_of_turn>model', 'gemma'],
    ['<BOS_TOKEN>', 'command_r'],
    ['<tool_call>', 'qwen'],
    ['</tool_response>', 'qwen'],
    ['[gMASK]', 'glm'],
    ['<|im_\u200bstart|>', 'delimited'],
    ['<|іm_stаrt|>', 'delimited'],
    ['＜｜ｉｍ＿ｓｔａｒｔ｜＞', 'delimited'],
    ['[ＩＮＳＴ]', 'llama2'],
  ])('%s', (text, rule) => {
    expect(rulesOf(detector, `x ${text} y`)).toContain(rule)
  })
})

test.each([
  'a <| b |> c |> d',
  'if (a <|| b) {}',
  '<| |> <||> <|',
  '[instance] <system> <s>struck</s> <start> [tool]',
  `<|${'a'.repeat(60)}|>`,
  'x <|im_start y|> z<|\n|>',
])('leaves ordinary text alone: %s', (text) => {
  expect(
    rulesOf(detector, text).filter((rule) => rule !== 'delimited' || !text.includes('im_start')),
  ).toEqual([])
})

test('points to the token as it was written', () => {
  expect(hitsOf(detector, 'hi <|im_\u200bstart|>!').map((hit) => hit.text)).toEqual([
    '<|im_\u200bstart|>',
  ])
})
