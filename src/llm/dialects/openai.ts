import type { Denial } from '../../denial.js'
import type { Dialect, ErrorAnswer } from '../dialect.js'
import { countOf, foldNames, invalid, isNumber } from '../fields.js'
import type { JsonArray, JsonObject, JsonValue } from '../json.js'
import { isArray, isObject, textOf } from '../json-text.js'
import type { Reading } from '../reading.js'
import {
  chatFields,
  completionFields,
  openaiGuardedNames,
  openaiInsteadOf,
  promptTokenIds,
} from './openai-fields.js'
import { readMessages, readTools } from './openai-messages.js'

const chatPath = '/v1/chat/completions'
const completionPath = '/v1/completions'

/** OpenAI's chat completions and completions, with what vLLM adds to them. */
export const openai: Dialect = {
  name: 'openai',
  paths: [chatPath, completionPath],
  readsApiKeyHeader: false,
  cachedTokens: 'within_input',

  guardedNames: foldNames(openaiGuardedNames),
  insteadOf: openaiInsteadOf,
  fieldsOf: (path) => (path === chatPath ? chatFields : completionFields),

  read(reading, path, body) {
    const prompts = path === chatPath ? readChat(reading, body) : readPrompts(reading, body)
    if (typeof prompts !== 'number') return prompts
    const denial = checkOutput(body)
    if (denial !== undefined) return denial
    const returned = countOf(body, 'n') ?? 1
    const candidates = Math.max(returned, countOf(body, 'best_of') ?? 1)
    const stream = body.get('stream') === true
    return {
      outputCapTokens: outputCap(body),
      choices: prompts * candidates,
      candidatesPerChoice: Math.ceil(candidates / returned),
      stream,
      streamUsage: stream && asksFor('include_usage', body),
      runningUsage: asksFor('continuous_usage_stats', body),
      withholdsTokens:
        countOf(body, 'stream_interval') !== undefined ||
        // vLLM streams neither: it sends all in the end, as one event, whatever `stream` says.
        body.get('use_beam_search') === true ||
        candidates > returned,
      failsLate: forcesCall(body.get('tool_choice')) || forcesCall(body.get('function_call')),
    }
  },

  errorBody({ status, code, message, param }) {
    return JSON.stringify({
      error: { message, type: errorType(status), param: param ?? null, code },
    })
  },
}

/** @returns how many prompts there are: always one */
function readChat(reading: Reading, body: JsonObject): number | Denial {
  return readMessages(reading, body.get('messages')) ?? readTools(reading, body.get('tools')) ?? 1
}

/** @returns how many prompts there are: each is answered by itself */
function readPrompts(reading: Reading, body: JsonObject): number | Denial {
  const embeds = body.get('prompt_embeds') ?? null
  const embedded = embeds === null ? 0 : isArray(embeds) ? embeds.length : 1
  const prompt = body.get('prompt') ?? null
  const written = prompt === null ? 0 : readPrompt(reading, prompt)
  if (typeof written !== 'number') return written
  const prompts = written + embedded
  return prompts === 0 ? invalid('prompt', promptText) : prompts
}

const promptText = 'a string, a list of strings, or lists of token ids'

function readPrompt(reading: Reading, prompt: JsonValue): number | Denial {
  if (typeof prompt === 'string') {
    reading.say('user', prompt)
    return 1
  }
  if (!isArray(prompt) || prompt.length === 0) return invalid('prompt', promptText)
  if (prompt.every((item) => typeof item === 'string')) {
    for (const text of prompt) reading.say('user', text)
    return prompt.length
  }
  if (isTokenIds(prompt)) {
    sayTokenIds(reading, prompt)
    return 1
  }
  if (prompt.every((item) => isArray(item) && isTokenIds(item))) {
    for (const ids of prompt) sayTokenIds(reading, ids)
    return prompt.length
  }
  return invalid('prompt', promptText)
}

function isTokenIds(items: JsonArray): boolean {
  return (
    items.length > 0 && items.every((item) => isNumber(item) && item.integer && item.value >= 0)
  )
}

/** Nothing that inspection could read; as text each id counts for at least the one token that it is. */
function sayTokenIds(reading: Reading, ids: JsonValue): void {
  reading.guarded.add(promptTokenIds)
  reading.say('user', textOf(ids))
}

function asksFor(option: string, body: JsonObject): boolean {
  const options = body.get('stream_options')
  return isObject(options) && options.get(option) === true
}

/** `required`, or the name of one tool or function: the engine must call, whatever it would rather say. */
function forcesCall(choice: JsonValue | undefined): boolean {
  return choice === 'required' || isObject(choice)
}

/** The larger of both: some engines read the one, some the other. */
function outputCap(body: JsonObject): number | undefined {
  const caps = ['max_tokens', 'max_completion_tokens']
    .map((name) => countOf(body, name))
    .filter((cap) => cap !== undefined)
  return caps.length === 0 ? undefined : Math.max(...caps)
}

function checkOutput(body: JsonObject): Denial | undefined {
  const minTokens = body.get('min_tokens')
  if (isNumber(minTokens)) {
    const cap = outputCap(body)
    if (minTokens.value < 0 || (cap !== undefined && minTokens.value > cap)) {
      return invalid('min_tokens', 'from 0 to the output cap')
    }
  }
  return undefined
}

/** The classes that OpenAI's clients tell errors apart by. */
function errorType(status: ErrorAnswer['status']): string {
  if (status === 401) return 'authentication_error'
  if (status === 403) return 'permission_error'
  if (status === 429) return 'rate_limit_error'
  return status >= 500 ? 'server_error' : 'invalid_request_error'
}
