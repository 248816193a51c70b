import type { ServerResponse } from 'node:http'
import { gzipSync } from 'node:zlib'
import type { Behaviour } from './behaviour.js'

/** What a stand-in worked for one request; it grows while the request is served. */
export interface Generation {
  /** All input it read, cached or not. */
  inputTokens: number
  /** Of the input, what it says it read from a cache. */
  cachedTokens: number
  /** Of the input, what it says it wrote to a cache. */
  cacheWriteTokens: number
  /** Words it has generated so far, over all choices. */
  outputTokens: number
  /** Of the output, what it says it thought. */
  reasoningTokens: number
  /** It came to its own end. */
  finished: boolean
  /** The connection was gone before the answer was complete. */
  clientLeft: boolean
}

export interface AnswerParts {
  readonly path: string
  readonly ask: Readonly<Record<string, unknown>>
  readonly response: ServerResponse
  readonly behaviour: Behaviour
  /** Resolves when a paused answer may go on. */
  readonly gate: Promise<void>
  readonly generation: Generation
  readonly acceptsGzip: boolean
  readonly random: () => number
}

/** What it generates at most when nobody caps it: an engine would run to the end of its context. */
const UNCAPPED_TOKENS = 4096
/** Random answers are this long at most, so that a demo stays readable. */
const LONGEST_ANSWER_TOKENS = 160

const words = 'the gate counts each word that a model says and pays back what was not said'.split(
  ' ',
)

/** `/v1/chat/completions` and `/v1/completions`. Cached tokens are part of `prompt_tokens`, reasoning of `completion_tokens`. */
export async function answerOpenAi(parts: AnswerParts): Promise<void> {
  const { ask, generation, random, response } = parts
  const chat = parts.path === '/v1/chat/completions'
  const inputTokens = inputOf(ask, random)
  const cachedTokens = between(1, inputTokens, random)
  generation.inputTokens = inputTokens
  generation.cachedTokens = cachedTokens
  const usage = (): object => {
    generation.reasoningTokens = Math.ceil(generation.outputTokens / 2)
    return {
      prompt_tokens: inputTokens,
      completion_tokens: generation.outputTokens,
      total_tokens: inputTokens + generation.outputTokens,
      prompt_tokens_details: { cached_tokens: cachedTokens },
      completion_tokens_details: { reasoning_tokens: generation.reasoningTokens },
    }
  }
  const base = {
    id: 'cmpl-demo',
    object: chat ? 'chat.completion' : 'text_completion',
    created: 1_700_000_000,
    model: ask['model'],
  }
  const count = numberOf(ask['n']) ?? 1

  if (ask['stream'] !== true) {
    const choices = []
    for (let index = 0; index < count; index++) {
      const text = (await collect(parts)).join('')
      choices.push({
        index,
        finish_reason: 'stop',
        ...(chat ? { message: { role: 'assistant', content: text } } : { text }),
      })
    }
    generation.finished = true
    sendWhole(parts, { ...base, choices, ...(parts.behaviour.omitUsage ? {} : { usage: usage() }) })
    return
  }
  openStream(parts)
  for (let index = 0; index < count; index++) {
    for await (const word of generate(parts)) {
      const choice = {
        index,
        finish_reason: null,
        ...(chat ? { delta: { content: word } } : { text: word }),
      }
      sendEvent(response, { ...base, object: 'chat.completion.chunk', choices: [choice] })
    }
  }
  if (generation.clientLeft) return
  const options = ask['stream_options']
  const wantsUsage = typeof options === 'object' && options !== null && 'include_usage' in options
  if (wantsUsage && options.include_usage === true && parts.behaviour.omitUsage !== true) {
    const last = { ...base, object: 'chat.completion.chunk', choices: [], usage: usage() }
    await sendUsageEvent(parts, last)
  }
  generation.finished = true
  response.end('data: [DONE]\n\n')
}

/**
 * `/v1/messages`. Cached tokens come on top of `input_tokens`; thinking is part of `output_tokens`, which a stream tells
 * only at its end.
 */
export async function answerAnthropic(parts: AnswerParts): Promise<void> {
  const { ask, generation, random, response } = parts
  const input = inputOf(ask, random)
  const cacheRead = between(1, 40, random)
  const cacheWrite = between(1, 40, random)
  generation.inputTokens = input + cacheRead + cacheWrite
  generation.cachedTokens = cacheRead
  generation.cacheWriteTokens = cacheWrite
  const inputUsage = {
    input_tokens: input,
    cache_read_input_tokens: cacheRead,
    cache_creation_input_tokens: cacheWrite,
  }
  const base = { id: 'msg_demo', type: 'message', role: 'assistant', model: ask['model'] }

  if (ask['stream'] !== true) {
    const text = (await collect(parts)).join('')
    generation.finished = true
    sendWhole(parts, {
      ...base,
      content: [{ type: 'text', text }],
      stop_reason: 'end_turn',
      ...(parts.behaviour.omitUsage
        ? {}
        : { usage: { ...inputUsage, output_tokens: generation.outputTokens } }),
    })
    return
  }
  openStream(parts)
  const { cumulativeUsage = false } = parts.behaviour
  const early = { input_tokens: 0, cache_read_input_tokens: 0, cache_creation_input_tokens: 0 }
  // An output figure from before anything was generated, as the API sends it: whoever counts it counts wrong.
  const earlyUsage = { ...(cumulativeUsage ? early : inputUsage), output_tokens: 1 }
  const message = { ...base, content: [], usage: earlyUsage }
  sendEvent(response, { type: 'message_start', message }, 'message_start')
  const block = { type: 'text', text: '' }
  sendEvent(
    response,
    { type: 'content_block_start', index: 0, content_block: block },
    'content_block_start',
  )
  for await (const word of generate(parts)) {
    const delta = { type: 'text_delta', text: word }
    sendEvent(response, { type: 'content_block_delta', index: 0, delta }, 'content_block_delta')
  }
  if (generation.clientLeft) return
  generation.finished = true
  sendEvent(response, { type: 'content_block_stop', index: 0 }, 'content_block_stop')
  const delta = { stop_reason: 'end_turn', stop_sequence: null }
  const usage = {
    ...(cumulativeUsage ? inputUsage : {}),
    output_tokens: generation.outputTokens,
  }
  await sendUsageEvent(parts, { type: 'message_delta', delta, usage }, 'message_delta')
  sendEvent(response, { type: 'message_stop' }, 'message_stop')
  response.end()
}

/** One random word after the other; stops when a streaming client has left, as engines do, and only then. */
async function* generate(parts: AnswerParts): AsyncGenerator<string> {
  const { ask, behaviour, generation, random } = parts
  const capTokens =
    numberOf(ask['max_tokens']) ?? numberOf(ask['max_completion_tokens']) ?? UNCAPPED_TOKENS
  // Long enough that what it is told to do in the middle happens.
  const leastTokens = 1 + Math.max(behaviour.pauseAfterTokens ?? 0, behaviour.resetAfterTokens ?? 0)
  const lengthTokens =
    behaviour.outputTokens === undefined
      ? between(leastTokens, Math.min(capTokens, LONGEST_ANSWER_TOKENS), random)
      : Math.min(capTokens, behaviour.outputTokens)
  for (let index = 0; index < lengthTokens; index++) {
    if (behaviour.pauseAfterTokens === index) await parts.gate
    if (behaviour.resetAfterTokens === index) {
      parts.response.socket?.destroy()
      return
    }
    if (behaviour.tokenDelayMs !== undefined) await sleep(behaviour.tokenDelayMs)
    if (generation.clientLeft && ask['stream'] === true) return
    generation.outputTokens += 1
    yield `${words[Math.floor(random() * words.length)] ?? 'word'} `
  }
}

async function collect(parts: AnswerParts): Promise<readonly string[]> {
  const said: string[] = []
  for await (const word of generate(parts)) said.push(word)
  return said
}

function openStream(parts: AnswerParts): void {
  parts.response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' })
  parts.response.flushHeaders()
}

function sendEvent(response: ServerResponse, value: unknown, name?: string): void {
  response.write(`${eventOf(value, name)}\n\n`)
}

/** The event that says the usage; one that is padded waits in its middle, so that it never arrives in one piece. */
async function sendUsageEvent(parts: AnswerParts, value: unknown, name?: string): Promise<void> {
  const { response, behaviour } = parts
  const half = ' '.repeat((behaviour.usageEventPaddingBytes ?? 0) / 2)
  response.write(`${eventOf(value, name)}${half}`)
  if (half !== '') await parts.gate
  response.write(`${half}\n\n`)
}

function eventOf(value: unknown, name?: string): string {
  const event = name === undefined ? '' : `event: ${name}\n`
  return `${event}data: ${JSON.stringify(value)}`
}

function sendWhole(parts: AnswerParts, value: unknown): void {
  const { response, behaviour } = parts
  if (response.destroyed) return
  const text = JSON.stringify(value) + ' '.repeat(behaviour.paddingBytes ?? 0)
  // As engines behind a compressing proxy do: usage is hidden, bytes are few.
  const body = parts.acceptsGzip ? gzipSync(text) : Buffer.from(text)
  response.writeHead(200, {
    'content-type': 'application/json',
    ...(parts.acceptsGzip ? { 'content-encoding': 'gzip' } : {}),
    ...(behaviour.chunked ? {} : { 'content-length': body.length }),
  })
  response.end(body)
}

/** About a token per four bytes, and a random rest, so that no figure agrees by luck. */
function inputOf(ask: Readonly<Record<string, unknown>>, random: () => number): number {
  const prompt = JSON.stringify(ask['messages'] ?? ask['prompt'] ?? '')
  return Math.ceil(prompt.length / 4) + between(0, 12, random)
}

function between(least: number, most: number, random: () => number): number {
  return least + Math.floor(random() * (most - least + 1))
}

function numberOf(value: unknown): number | undefined {
  return typeof value === 'number' ? value : undefined
}

async function sleep(durationMs: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, durationMs))
}
