import type { ChatCompletionCreateParamsNonStreaming } from 'openai/resources/chat/completions'
import type { CompletionCreateParamsNonStreaming } from 'openai/resources/completions'
import { describe, expect, test } from 'vitest'
import {
  anthropicGuardedNames,
  messageRequestFields,
} from '../../src/llm/dialects/anthropic-fields.js'
import {
  chatFields,
  completionFields,
  openaiGuardedNames,
} from '../../src/llm/dialects/openai-fields.js'

// The lists are closed and generous: what an API documents is known, and either free or in need of a grant.

type Need = 'free' | 'grant'

/** Complete by the types of OpenAI's own client: a newer one with another field does not compile. */
const chat: Record<keyof ChatCompletionCreateParamsNonStreaming, Need> = {
  audio: 'grant',
  frequency_penalty: 'free',
  function_call: 'free',
  functions: 'free',
  logit_bias: 'free',
  logprobs: 'free',
  max_completion_tokens: 'free',
  max_tokens: 'free',
  messages: 'free',
  metadata: 'free',
  modalities: 'grant',
  model: 'free',
  n: 'free',
  parallel_tool_calls: 'free',
  prediction: 'free',
  presence_penalty: 'free',
  prompt_cache_key: 'free',
  prompt_cache_retention: 'free',
  reasoning_effort: 'free',
  response_format: 'free',
  safety_identifier: 'free',
  seed: 'free',
  service_tier: 'grant',
  stop: 'free',
  store: 'grant',
  stream: 'free',
  stream_options: 'free',
  temperature: 'free',
  tool_choice: 'free',
  tools: 'free',
  top_logprobs: 'free',
  top_p: 'free',
  user: 'free',
  verbosity: 'free',
  web_search_options: 'grant',
}

const completion: Record<keyof CompletionCreateParamsNonStreaming, Need> = {
  best_of: 'free',
  echo: 'free',
  frequency_penalty: 'free',
  logit_bias: 'free',
  logprobs: 'free',
  max_tokens: 'free',
  model: 'free',
  n: 'free',
  presence_penalty: 'free',
  prompt: 'free',
  seed: 'free',
  stop: 'free',
  stream: 'free',
  stream_options: 'free',
  suffix: 'free',
  temperature: 'free',
  top_p: 'free',
  user: 'free',
}

/** From the reference of Anthropic's API, betas included. */
const message: Record<string, Need> = {
  cache_control: 'free',
  container: 'grant',
  context_management: 'grant',
  inference_geo: 'grant',
  max_tokens: 'free',
  mcp_servers: 'grant',
  messages: 'free',
  metadata: 'free',
  model: 'free',
  output_config: 'free',
  output_format: 'free',
  service_tier: 'grant',
  speed: 'grant',
  stop_sequences: 'free',
  stream: 'free',
  system: 'free',
  temperature: 'free',
  thinking: 'free',
  tool_choice: 'free',
  tools: 'free',
  top_k: 'free',
  top_p: 'free',
}

describe.each([
  ['/v1/chat/completions', chat, chatFields, openaiGuardedNames],
  ['/v1/completions', completion, completionFields, openaiGuardedNames],
  ['/v1/messages', message, messageRequestFields, anthropicGuardedNames],
] as const)('on %s', (_path, documented, table, guardedNames) => {
  test.each(Object.entries(documented))('%s is known, and its use is: %s', (name, need) => {
    expect(table.rules.has(name)).toBe(true)
    expect(guardedNames.has(name)).toBe(need === 'grant')
  })
})

// What steers an engine or says where it keeps its state, whoever documents it.
test.each([
  ...['prompt_embeds', 'chat_template', 'chat_template_kwargs', 'priority', 'kv_transfer_params'],
  ...['ec_transfer_params', 'request_id', 'session_id', 'allowed_token_ids', 'vllm_xargs'],
  ...['logits_processors', 'documents', 'mm_processor_kwargs', 'media_io_kwargs'],
  ...['stream_interval', 'continuous_usage_stats'],
  ...['add_special_tokens', 'image_url', 'audio_url', 'video_url', 'file', 'prompt_token_ids'],
])('OpenAI: %s needs a grant', (name) => {
  expect(openaiGuardedNames.has(name)).toBe(true)
})

test.each([
  ...['chat_template', 'chat_template_kwargs', 'kv_transfer_params', 'compaction'],
  ...['image', 'document_file', 'container_upload', 'server_tools', 'redacted_thinking'],
])('Anthropic: %s needs a grant', (name) => {
  expect(anthropicGuardedNames.has(name)).toBe(true)
})
