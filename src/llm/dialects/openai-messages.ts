import type { Denial } from '../../denial.js'
import type { Provenance } from '../../segment.js'
import { fieldTable, invalid, readFields } from '../fields.js'
import type { FieldTable } from '../fields.js'
import type { JsonObject, JsonValue } from '../json.js'
import { isArray, isObject, textOfMedia } from '../json-text.js'
import type { Reading } from '../reading.js'
import { mediaParts } from './openai-fields.js'

const provenanceOf: ReadonlyMap<string, Provenance> = new Map<string, Provenance>([
  ['system', 'system'],
  ['developer', 'system'],
  ['user', 'user'],
  ['assistant', 'assistant'],
  ['tool', 'tool'],
  ['function', 'tool'],
])

const messageFields: ReadonlyMap<Provenance, FieldTable> = new Map(
  [...provenanceOf.values()].map((provenance) => [provenance, messageTable(provenance)]),
)

function messageTable(provenance: Provenance): FieldTable {
  const text = { kind: { text: provenance }, nullable: true }
  return fieldTable('messages[].', {
    role: { kind: 'own' },
    content: { kind: 'own' },
    name: text,
    refusal: text,
    // What a reasoning model thought before; engines take it back under either name.
    reasoning: text,
    reasoning_content: text,
    annotations: { kind: { any: provenance }, nullable: true },
    tool_call_id: text,
    tool_calls: { kind: 'own', nullable: true },
    function_call: { kind: 'own', nullable: true },
    prefix: { kind: 'boolean', nullable: true },
    audio: { kind: { any: provenance }, nullable: true, guard: 'names an answer kept elsewhere' },
  })
}

/** The content parts that are text, by type, with the field that holds it. */
const textFieldOf: ReadonlyMap<string, string> = new Map([
  ['text', 'text'],
  ['input_text', 'text'],
  ['output_text', 'text'],
  ['refusal', 'refusal'],
])

const partFields: ReadonlyMap<string, FieldTable> = new Map(
  [...textFieldOf.values()].map((name) => [
    name,
    fieldTable('messages[].content[].', { type: { kind: 'own' }, [name]: { kind: 'own' } }),
  ]),
)

/** Reads the `messages` of a chat completion into segments. */
export function readMessages(reading: Reading, value: JsonValue | undefined): Denial | undefined {
  if (!isArray(value) || value.length === 0) {
    return invalid('messages', 'a list of at least one message')
  }
  for (const [index, message] of value.entries()) {
    const denial = readMessage(reading, message, `messages[${String(index)}]`)
    if (denial !== undefined) return denial
  }
  return undefined
}

function readMessage(reading: Reading, message: JsonValue, at: string): Denial | undefined {
  if (!isObject(message)) return invalid(at, 'an object')
  const role = message.get('role')
  const provenance = typeof role === 'string' ? provenanceOf.get(role) : undefined
  const table = provenance === undefined ? undefined : messageFields.get(provenance)
  if (provenance === undefined || table === undefined) {
    return invalid(`${at}.role`, `one of ${[...provenanceOf.keys()].join(', ')}`)
  }
  return (
    readContent(reading, message, provenance, `${at}.content`) ??
    readFields(reading, message, table, `${at}.`) ??
    readToolCalls(reading, message, provenance, at)
  )
}

function readContent(
  reading: Reading,
  message: JsonObject,
  provenance: Provenance,
  at: string,
): Denial | undefined {
  const content = message.get('content')
  if (typeof content === 'string') {
    reading.say(provenance, content)
    return undefined
  }
  // An assistant that only called tools said nothing.
  if ((content === undefined || content === null) && provenance === 'assistant') {
    reading.say(provenance, '')
    return undefined
  }
  if (!isArray(content)) return invalid(at, 'a string or a list of content parts')

  let neighbours: string[] = []
  const sayNeighbours = (): void => {
    reading.sayParts(provenance, neighbours)
    neighbours = []
  }
  for (const [index, part] of content.entries()) {
    const text = readPart(reading, part, provenance, `${at}[${String(index)}]`)
    if (typeof text === 'string') neighbours.push(text)
    else if (text === undefined) sayNeighbours()
    else return text
  }
  sayNeighbours()
  return undefined
}

/** @returns the text of a text part; undefined for a part that was read otherwise */
function readPart(
  reading: Reading,
  part: JsonValue,
  provenance: Provenance,
  at: string,
): string | Denial | undefined {
  if (!isObject(part)) return invalid(at, 'an object')
  const type = part.get('type')
  if (typeof type === 'string' && mediaParts.has(type)) {
    reading.guarded.add(type)
    reading.say(provenance, textOfMedia(part))
    return undefined
  }
  const textField = typeof type === 'string' ? textFieldOf.get(type) : undefined
  const table = textField === undefined ? undefined : partFields.get(textField)
  if (textField === undefined || table === undefined) {
    return invalid(`${at}.type`, 'the type of a content part that is known here, as text')
  }
  const text = part.get(textField)
  if (typeof text !== 'string') return invalid(`${at}.${textField}`, 'a string')
  return readFields(reading, part, table, `${at}.`) ?? text
}

function readToolCalls(
  reading: Reading,
  message: JsonObject,
  provenance: Provenance,
  at: string,
): Denial | undefined {
  const legacyCall = message.get('function_call') ?? null
  if (legacyCall !== null) {
    const denial = checkCall(legacyCall, 'arguments', `${at}.function_call`)
    if (denial !== undefined) return denial
    reading.sayJson(provenance, legacyCall)
  }
  const calls = message.get('tool_calls') ?? null
  if (calls === null) return undefined
  if (!isArray(calls)) return invalid(`${at}.tool_calls`, 'a list of tool calls')
  for (const [index, call] of calls.entries()) {
    const denial = checkToolCall(call, `${at}.tool_calls[${String(index)}]`)
    if (denial !== undefined) return denial
    reading.sayJson(provenance, call)
  }
  return undefined
}

function checkToolCall(call: JsonValue, at: string): Denial | undefined {
  if (!isObject(call)) return invalid(at, 'an object')
  const type = call.get('type') ?? 'function'
  if (type === 'function') return checkCall(call.get('function'), 'arguments', `${at}.function`)
  if (type === 'custom') return checkCall(call.get('custom'), 'input', `${at}.custom`)
  return invalid(`${at}.type`, 'function or custom')
}

function checkCall(
  call: JsonValue | undefined,
  argumentField: string,
  at: string,
): Denial | undefined {
  if (!isObject(call)) return invalid(at, 'an object')
  if (typeof call.get('name') !== 'string') return invalid(`${at}.name`, 'a string')
  if (typeof call.get(argumentField) !== 'string') {
    return invalid(`${at}.${argumentField}`, 'a string')
  }
  return undefined
}

/** Reads the tools that a caller offers; everything in a definition goes into the prompt. */
export function readTools(reading: Reading, value: JsonValue | undefined): Denial | undefined {
  if (value === undefined || value === null) return undefined
  if (!isArray(value)) return invalid('tools', 'a list of tools')
  for (const [index, tool] of value.entries()) {
    const at = `tools[${String(index)}]`
    if (!isObject(tool)) return invalid(at, 'an object')
    const type = tool.get('type')
    if (type !== 'function' && type !== 'custom') return invalid(`${at}.type`, 'function or custom')
    const definition = tool.get(type)
    if (!isObject(definition)) return invalid(`${at}.${type}`, 'an object')
    if (typeof definition.get('name') !== 'string') {
      return invalid(`${at}.${type}.name`, 'a string')
    }
    reading.sayJson('tool_definition', tool)
  }
  return undefined
}
