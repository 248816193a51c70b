import { fieldTable } from '../fields.js'
import type { FieldRule, FieldTable } from '../fields.js'

const remote = 'makes the server fetch, run or keep something elsewhere'
const rewriting = 'changes the conversation behind what was inspected'
const scheduling = 'moves the request before those of others, or to another place'
const template = 'decides how the conversation becomes a prompt'

const cacheControl: FieldRule = { kind: { any: 'user' }, nullable: true }

const thinkingFields = fieldTable('thinking.', {
  type: { kind: 'keyword' },
  budget_tokens: { kind: 'count' },
  // What is omitted, or summed up, was generated all the same.
  display: { kind: 'keyword', nullable: true, reshapes: true },
})

/** `POST /v1/messages`: Anthropic's own fields, and what vLLM adds to them. Null is allowed only where listed. */
export const messageRequestFields = fieldTable('', {
  model: { kind: 'own' },
  messages: { kind: 'own' },
  system: { kind: 'own' },
  tools: { kind: 'own' },
  thinking: { kind: { fields: thinkingFields } },
  max_tokens: { kind: 'count' },
  stream: { kind: 'boolean' },
  temperature: { kind: 'number' },
  top_p: { kind: 'number' },
  top_k: { kind: 'integer' },
  stop_sequences: { kind: { texts: 'user' } },
  tool_choice: { kind: { any: 'tool_definition' } },
  metadata: { kind: { any: 'user' } },
  output_config: { kind: { any: 'tool_definition' } },
  output_format: { kind: { any: 'tool_definition' }, nullable: true },
  cache_control: cacheControl,

  service_tier: {
    kind: 'keyword',
    guard: scheduling,
    reshapes: true,
    harmless: ['auto', 'standard_only'],
  },
  inference_geo: { kind: { text: 'user' }, nullable: true, guard: scheduling, reshapes: true },
  speed: {
    kind: 'keyword',
    nullable: true,
    guard: scheduling,
    reshapes: true,
    harmless: ['standard'],
  },
  container: { kind: { any: 'user' }, nullable: true, guard: remote },
  mcp_servers: { kind: { any: 'user' }, guard: remote },
  context_management: { kind: { any: 'user' }, nullable: true, guard: rewriting },
  compaction: { kind: { any: 'user' }, nullable: true, guard: rewriting },
  chat_template: { kind: { text: 'system' }, nullable: true, guard: template },
  chat_template_kwargs: { kind: { any: 'system' }, nullable: true, guard: template },
  kv_transfer_params: { kind: { any: 'user' }, nullable: true, guard: remote },
})

export const messageFields = fieldTable('messages[].', {
  role: { kind: 'own' },
  content: { kind: 'own' },
})

/** Tools that the server runs itself, or that a model knows without a schema: `type` is neither missing nor `custom`. */
export const serverTools = 'server_tools'

/**
 * Blocks whose content cannot be read (base64, encrypted, a file's id) or that speak of what a server did by
 * itself; each needs a grant of that name. Their tokens are not counted at admission.
 */
export const guardedBlocks: ReadonlySet<string> = new Set([
  'image',
  'redacted_thinking',
  'server_tool_use',
  'web_search_tool_result',
  'web_fetch_tool_result',
  'code_execution_tool_result',
  'bash_code_execution_tool_result',
  'text_editor_code_execution_tool_result',
  'tool_search_tool_result',
  'mcp_tool_use',
  'mcp_tool_result',
  'container_upload',
  'compaction',
])

/** A document that is not plain text or content blocks. */
export const documentFile = 'document_file'

export const anthropicGuardedNames: ReadonlySet<string> = new Set([
  ...[...messageRequestFields.rules]
    .filter(([, rule]) => rule.guard !== undefined)
    .map(([name]) => name),
  ...guardedBlocks,
  serverTools,
  documentFile,
])

/** Fields of the blocks that are read, by the block's type; `own` ones become segments in `anthropic-blocks.ts`. */
export const blockFields: ReadonlyMap<string, FieldTable> = new Map(
  Object.entries({
    text: ['text', 'citations'],
    thinking: ['thinking', 'signature'],
    document: ['source', 'title', 'context', 'citations'],
    search_result: ['source', 'title', 'content', 'citations'],
    tool_use: ['id', 'name', 'input', 'caller'],
    tool_result: ['tool_use_id', 'content', 'is_error'],
    tool_reference: ['tool_name'],
  }).map(([type, names]) => [type, blockTable(names)]),
)

function blockTable(names: readonly string[]): FieldTable {
  return fieldTable('content[].', {
    type: { kind: 'own' },
    cache_control: cacheControl,
    ...Object.fromEntries(names.map((name) => [name, { kind: 'own' } as const])),
  })
}
