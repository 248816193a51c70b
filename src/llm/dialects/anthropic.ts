import type { Denial } from '../../denial.js'
import type { Dialect, ErrorAnswer } from '../dialect.js'
import { countOf, foldNames, invalid, readFields } from '../fields.js'
import type { JsonObject, JsonValue } from '../json.js'
import { isArray, isObject } from '../json-text.js'
import type { Reading } from '../reading.js'
import { readContent } from './anthropic-blocks.js'
import {
  anthropicGuardedNames,
  messageFields,
  messageRequestFields,
  serverTools,
} from './anthropic-fields.js'

/** Anthropic's messages, with what vLLM adds to them. */
export const anthropic: Dialect = {
  name: 'anthropic',
  paths: ['/v1/messages'],
  readsApiKeyHeader: true,
  cachedTokens: 'on_top',

  guardedNames: foldNames(anthropicGuardedNames),
  fieldsOf: () => messageRequestFields,

  read(reading, _path, body) {
    const denial =
      readSystem(reading, body.get('system')) ??
      readMessages(reading, body.get('messages')) ??
      readTools(reading, body.get('tools')) ??
      checkThinking(body)
    if (denial !== undefined) return denial
    const stream = body.get('stream') === true
    return {
      outputCapTokens: countOf(body, 'max_tokens'),
      choices: 1,
      candidatesPerChoice: 1,
      stream,
      // A stream always tells its usage, in `message_start` and `message_delta`; the output at its end alone.
      streamUsage: stream,
      runningUsage: false,
      withholdsTokens: false,
      failsLate: forcesCall(body.get('tool_choice')),
    }
  },

  errorBody({ status, code, message, param }) {
    return JSON.stringify({
      type: 'error',
      error: { type: errorType(status), message, code, ...(param === undefined ? {} : { param }) },
    })
  },
}

/** `any` or `tool`: the engine must call, whatever it would rather say. */
function forcesCall(choice: JsonValue | undefined): boolean {
  if (choice === undefined || choice === null || !isObject(choice)) return false
  const type = choice.get('type')
  return type === 'any' || type === 'tool'
}

function readSystem(reading: Reading, system: JsonValue | undefined): Denial | undefined {
  return system === undefined ? undefined : readContent(reading, system, 'system', 'system')
}

function readMessages(reading: Reading, messages: JsonValue | undefined): Denial | undefined {
  if (!isArray(messages) || messages.length === 0) {
    return invalid('messages', 'a list of at least one message')
  }
  for (const [index, message] of messages.entries()) {
    const at = `messages[${String(index)}]`
    if (!isObject(message)) return invalid(at, 'an object')
    const role = message.get('role')
    if (role !== 'user' && role !== 'assistant') return invalid(`${at}.role`, 'user or assistant')
    const denial =
      readContent(reading, message.get('content'), role, `${at}.content`) ??
      readFields(reading, message, messageFields, `${at}.`)
    if (denial !== undefined) return denial
  }
  return undefined
}

function readTools(reading: Reading, tools: JsonValue | undefined): Denial | undefined {
  if (tools === undefined) return undefined
  if (!isArray(tools)) return invalid('tools', 'a list of tools')
  for (const [index, tool] of tools.entries()) {
    const at = `tools[${String(index)}]`
    if (!isObject(tool)) return invalid(at, 'an object')
    const type = tool.get('type') ?? 'custom'
    if (typeof type !== 'string') return invalid(`${at}.type`, 'a string')
    if (type === 'custom') {
      if (typeof tool.get('name') !== 'string') return invalid(`${at}.name`, 'a string')
      if (!isObject(tool.get('input_schema'))) return invalid(`${at}.input_schema`, 'an object')
    } else {
      reading.guarded.add(serverTools)
    }
    reading.sayJson('tool_definition', tool)
  }
  return undefined
}

/** Thinking is output: its budget is spent within `max_tokens`. */
function checkThinking(body: JsonObject): Denial | undefined {
  const thinking = body.get('thinking')
  const budgetTokens = isObject(thinking) ? countOf(thinking, 'budget_tokens') : undefined
  const capTokens = countOf(body, 'max_tokens')
  return budgetTokens !== undefined && capTokens !== undefined && budgetTokens > capTokens
    ? invalid('thinking.budget_tokens', 'within max_tokens')
    : undefined
}

/** The error types of Anthropic's API, by status. */
function errorType(status: ErrorAnswer['status']): string {
  switch (status) {
    case 401:
      return 'authentication_error'
    case 403:
      return 'permission_error'
    case 404:
      return 'not_found_error'
    case 413:
      return 'request_too_large'
    case 429:
      return 'rate_limit_error'
    case 504:
      return 'timeout_error'
    case 529:
      return 'overloaded_error'
    default:
      return status >= 500 ? 'api_error' : 'invalid_request_error'
  }
}
