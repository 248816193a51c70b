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

/** The same of a field that changes how many bytes or how much time an output token takes on its way out. */
function reshaping(kind: FieldKind, guard?: string, harmless?: FieldRule['harmless']): FieldRule {
  return { ...optional(kind, guard, harmless), reshapes: true }
}

const unreadable = 'inspection cannot read what it holds'
const template = 'decides how the conversation becomes a prompt'
const scheduling = 'moves the request before those of others'
const placement = 'says where the engine keeps and finds its state'
const engineCode = 'names code or switches inside the engine'
const sending = 'decides when and how the engine tells what it has generated'
const remote = 'makes the server fetch or keep data elsewhere'

const streamOptionFields = fieldTable('stream_options.', {
  include_usage: optional('boolean'),
  continuous_usage_stats: reshaping('boolean', sending, [false]),
  include_obfuscation: reshaping('boolean', undefined, [false]),
})

/** Fields of both paths: OpenAI's own, and what vLLM adds to them. */
const shared: Readonly<Record<string, FieldRule>> = {
  model: { kind: 'own' },
  stream: optional('boolean'),
  stream_options: optional({ fields: streamOptionFields }),
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
  use_beam_search: reshaping('boolean', undefined, [false]),
  ignore_eos: optional('boolean'),
  watermarking: optional('boolean'),
  echo: reshaping('boolean', undefined, [false]),

  stop: optional({ texts: 'user' }),
  stop_token_ids: optional('integers'),
  bad_words: optional({ texts: 'user' }),
  include_stop_str_in_output: optional('boolean'),
  skip_special_tokens: optional('boolean'),
  spaces_between_special_tokens: optional('boolean'),
  truncate_prompt_tokens: optional('integer'),
  truncation_side: optional('keyword'),

  prompt_logprobs: reshaping('integer'),
  logprob_token_ids: reshaping('integers'),
  return_tokens_as_token_ids: reshaping('boolean', undefined, [false]),
  return_token_ids: reshaping('boolean', undefined, [false]),
  return_token_offsets: reshaping('boolean', undefined, [false]),
  return_mm_kwargs: reshaping('boolean', undefined, [false]),
  routed_experts_prompt_start: reshaping('integer'),

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

  stream_interval: reshaping('count', sending),
  add_special_tokens: optional('boolean', template),
  priority: reshaping('integer', scheduling),
  request_id: reshaping({ text: 'user' }, placement),
  session_id: optional({ text: 'user' }, placement),
  kv_transfer_params: optional({ any: 'user' }, placement),
  ec_transfer_params: optional({ any: 'user' }, placement),
  allowed_token_ids: reshaping('integers', engineCode),
  logits_processors: reshaping({ any: 'user' }, engineCode),
  vllm_xargs: reshaping({ any: 'user' }, engineCode),
  prompt_embeds: optional('opaque', unreadable),
}

/** `POST /v1/chat/completions` */
export const chatFields = fieldTable('', {
  ...shared,
  messages: { kind: 'own' },
  max_completion_tokens: optional('count'),
  logprobs: reshaping('boolean', undefined, [false]),
  top_logprobs: reshaping('integer'),
  tools: optional('own'),
  functions: optional({ any: 'tool_definition' }),
  tool_choice: optional({ any: 'tool_definition' }),
  function_call: optional({ any: 'tool_definition' }),
  parallel_tool_calls: optional('boolean'),
  prediction: reshaping({ any: 'user' }),
  metadata: optional({ any: 'user' }),
  safety_identifier: optional({ text: 'user' }),
  prompt_cache_key: optional({ text: 'user' }),
  prompt_cache_retention: optional('keyword'),
  reasoning_effort: optional('keyword'),
  include_reasoning: reshaping('boolean', undefined, [true]),
  verbosity: optional('keyword'),
  add_generation_prompt: optional('boolean'),
  continue_final_message: optional('boolean'),
  return_prompt_text: reshaping('boolean', undefined, [false]),

  service_tier: reshaping('keyword', scheduling, ['auto', 'default']),
  store: optional('boolean', remote, [false]),
  web_search_options: optional({ any: 'user' }, remote),
  modalities: reshaping({ texts: 'user' }, unreadable),
  audio: reshaping({ any: 'user' }, unreadable),
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
  logprobs: reshaping('integer'),
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
  ...[...chatFields.rules, ...completionFields.rules, ...streamOptionFields.rules]
    .filter(([, rule]) => rule.guard !== undefined)
    .map(([name]) => name),
  ...mediaParts,
  promptTokenIds,
])

/** The running figures of a stream that is left are behind what was generated for it. */
export const openaiInsteadOf: ReadonlyMap<string, string> = new Map([
  ['continuous_usage_stats', 'ask for stream_options.include_usage alone'],
])
