import { fieldTable } from '../fields.js'
import type { FieldKind, FieldRule } from '../fields.js'

/** OpenAI documents null as "not set" for nearly every optional field, and vLLM reads it so for all of them. */
function optional(kind: FieldKind, guard?: string, harmless?: FieldRule['harmless']): FieldRule {
  return {
    kind,
    nullable: true,
    ...(guard === undefined ? {} : { guard }),
    ...(harmless === undefined ? {} : { harmless }),
  }
}

const unreadable = 'inspection cannot read what it holds'
const template = 'decides how the conversation becomes a prompt'
const scheduling = 'moves the request before those of others'
const placement = 'says where the engine keeps and finds its state'
const engineCode = 'names code or switches inside the engine'
const remote = 'makes the server fetch or keep data elsewhere'

/** Fields of both paths: OpenAI's own, and what vLLM adds to them. */
const shared: Readonly<Record<string, FieldRule>> = {
  model: { kind: 'own' },
  stream: optional('boolean'),
  stream_options: optional('own'),
  max_tokens: optional('count'),
  n: optional('count'),
  best_of: optional('count'),
  min_tokens: optional('integer'),
  thinking_token_budget: optional('integer'),

  temperature: optional('number'),
  top_p: optional('number'),
  top_k: optional('integer'),
  min_p: optional('number'),
  frequency_penalty: optional('number'),
  presence_penalty: optional('number'),
  repetition_penalty: optional('number'),
  length_penalty: optional('number'),
  repetition_detection: optional({ any: 'user' }),
  seed: optional('integer'),
  logit_bias: optional('biases'),
  use_beam_search: optional('boolean'),
  ignore_eos: optional('boolean'),
  watermarking: optional('boolean'),
  echo: optional('boolean'),

  stop: optional({ texts: 'user' }),
  stop_token_ids: optional('integers'),
  bad_words: optional({ texts: 'user' }),
  include_stop_str_in_output: optional('boolean'),
  skip_special_tokens: optional('boolean'),
  spaces_between_special_tokens: optional('boolean'),
  truncate_prompt_tokens: optional('integer'),
  truncation_side: optional('keyword'),

  prompt_logprobs: optional('integer'),
  logprob_token_ids: optional('integers'),
  return_tokens_as_token_ids: optional('boolean'),
  return_token_ids: optional('boolean'),
  return_token_offsets: optional('boolean'),
  return_mm_kwargs: optional('boolean'),
  routed_experts_prompt_start: optional('integer'),
  stream_interval: optional('count'),

  response_format: optional({ any: 'tool_definition' }),
  structured_outputs: optional({ any: 'tool_definition' }),
  structural_tag: optional({ any: 'tool_definition' }),
  guided_json: optional({ any: 'tool_definition' }),
  guided_regex: optional({ any: 'tool_definition' }),
  guided_choice: optional({ any: 'tool_definition' }),
  guided_grammar: optional({ any: 'tool_definition' }),
  guided_whitespace_pattern: optional({ any: 'tool_definition' }),
  guided_decoding_backend: optional({ any: 'tool_definition' }),

  user: optional({ text: 'user' }),
  cache_salt: optional({ text: 'user' }),

  add_special_tokens: optional('boolean', template),
  priority: optional('integer', scheduling),
  request_id: optional({ text: 'user' }, placement),
  session_id: optional({ text: 'user' }, placement),
  kv_transfer_params: optional({ any: 'user' }, placement),
  ec_transfer_params: optional({ any: 'user' }, placement),
  allowed_token_ids: optional('integers', engineCode),
  logits_processors: optional({ any: 'user' }, engineCode),
  vllm_xargs: optional({ any: 'user' }, engineCode),
  prompt_embeds: optional('opaque', unreadable),
}

/** `POST /v1/chat/completions` */
export const chatFields = fieldTable('', {
  ...shared,
  messages: { kind: 'own' },
  max_completion_tokens: optional('count'),
  logprobs: optional('boolean'),
  top_logprobs: optional('integer'),
  tools: optional('own'),
  functions: optional({ any: 'tool_definition' }),
  tool_choice: optional({ any: 'tool_definition' }),
  function_call: optional({ any: 'tool_definition' }),
  parallel_tool_calls: optional('boolean'),
  prediction: optional({ any: 'user' }),
  metadata: optional({ any: 'user' }),
  safety_identifier: optional({ text: 'user' }),
  prompt_cache_key: optional({ text: 'user' }),
  prompt_cache_retention: optional('keyword'),
  reasoning_effort: optional('keyword'),
  include_reasoning: optional('boolean'),
  verbosity: optional('keyword'),
  add_generation_prompt: optional('boolean'),
  continue_final_message: optional('boolean'),
  return_prompt_text: optional('boolean'),

  service_tier: optional('keyword', scheduling, ['auto', 'default']),
  store: optional('boolean', remote, [false]),
  web_search_options: optional({ any: 'user' }, remote),
  modalities: optional({ texts: 'user' }, unreadable),
  audio: optional({ any: 'user' }, unreadable),
  documents: optional({ any: 'document' }, template),
  chat_template: optional({ text: 'system' }, template),
  chat_template_kwargs: optional({ any: 'system' }, template),
  mm_processor_kwargs: optional({ any: 'user' }, engineCode),
  media_io_kwargs: optional({ any: 'user' }, engineCode),
})

/** `POST /v1/completions` */
export const completionFields = fieldTable('', {
  ...shared,
  prompt: optional('own'),
  suffix: optional({ text: 'user' }),
  logprobs: optional('integer'),
})

export const streamOptionFields = fieldTable('stream_options.', {
  include_usage: optional('boolean'),
  continuous_usage_stats: optional('boolean'),
  include_obfuscation: optional('boolean'),
})

/**
 * Content parts that hold no text or hide it in base64, by their type; each needs a grant of that name. Their
 * tokens are not counted at admission: the report of the engine is the first to know them.
 */
export const mediaParts: ReadonlySet<string> = new Set([
  'image_url',
  'input_image',
  'image_embeds',
  'image_pil',
  'audio_url',
  'input_audio',
  'audio_embeds',
  'video_url',
  'file',
  'input_file',
  'prompt_embeds',
])

/** Token ids in place of text, and an earlier answer in place of its words: see `prompt` and `audio`. */
export const promptTokenIds = 'prompt_token_ids'

export const openaiGuardedNames: ReadonlySet<string> = new Set([
  ...[...chatFields.rules, ...completionFields.rules]
    .filter(([, rule]) => rule.guard !== undefined)
    .map(([name]) => name),
  ...mediaParts,
  promptTokenIds,
])
