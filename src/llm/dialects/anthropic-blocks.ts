import type { Denial } from '../../denial.js'
import type { Provenance } from '../../segment.js'
import { fieldTable, invalid, readFields } from '../fields.js'
import type { FieldTable } from '../fields.js'
import type { JsonObject, JsonValue } from '../json.js'
import { isArray, isObject, textOfMedia } from '../json-text.js'
import type { Reading } from '../reading.js'
import { blockFields, documentFile, guardedBlocks } from './anthropic-fields.js'

/**
 * Reads the content of a message, of the system prompt or of a tool's result: a string, or a list of blocks.
 */
export function readContent(
  reading: Reading,
  content: JsonValue | undefined,
  provenance: Provenance,
  at: string,
): Denial | undefined {
  if (typeof content === 'string') {
    reading.say(provenance, content)
    return undefined
  }
  if (!isArray(content)) return invalid(at, 'a string or a list of content blocks')
  let neighbours: string[] = []
  const sayNeighbours = (): void => {
    reading.sayParts(provenance, neighbours)
    neighbours = []
  }
  for (const [index, block] of content.entries()) {
    const text = readBlock(reading, block, provenance, `${at}[${String(index)}]`)
    if (typeof text === 'string') neighbours.push(text)
    else if (text === undefined) sayNeighbours()
    else return text
  }
  sayNeighbours()
  return undefined
}

/** @returns the text of a text block; undefined for a block that was read otherwise */
function readBlock(
  reading: Reading,
  block: JsonValue,
  provenance: Provenance,
  at: string,
): string | Denial | undefined {
  if (!isObject(block)) return invalid(at, 'an object')
  const type = block.get('type')
  if (typeof type !== 'string') return invalid(`${at}.type`, 'a string')
  if (guardedBlocks.has(type)) {
    reading.guarded.add(type)
    reading.say(type.endsWith('_result') ? 'tool' : provenance, textOfMedia(block))
    return undefined
  }
  const table = blockFields.get(type)
  if (table === undefined) {
    return invalid(`${at}.type`, 'the type of a content block that is known here, as text')
  }
  const denial = readFields(reading, block, table, `${at}.`)
  if (denial !== undefined) return denial

  switch (type) {
    case 'text':
      return readTextBlock(reading, block, provenance, at)
    case 'tool_result':
      return readToolResult(reading, block, at)
    case 'document':
      return readDocument(reading, block, at)
    case 'search_result':
      return readSearchResult(reading, block, at)
    default:
      // thinking, tool_use, tool_reference: all they hold is what the model said or will be told.
      reading.sayJson(provenance, block)
      return undefined
  }
}

function readTextBlock(
  reading: Reading,
  block: JsonObject,
  provenance: Provenance,
  at: string,
): string | Denial {
  const text = block.get('text')
  if (typeof text !== 'string') return invalid(`${at}.text`, 'a string')
  const citations = block.get('citations') ?? null
  if (citations !== null) reading.sayJson(provenance, citations)
  return text
}

function readToolResult(reading: Reading, block: JsonObject, at: string): Denial | undefined {
  const id = block.get('tool_use_id')
  if (typeof id !== 'string') return invalid(`${at}.tool_use_id`, 'a string')
  const isError = block.get('is_error')
  if (isError !== undefined && typeof isError !== 'boolean') {
    return invalid(`${at}.is_error`, 'true or false')
  }
  reading.say('tool', id)
  const content = block.get('content')
  return content === undefined ? undefined : readContent(reading, content, 'tool', `${at}.content`)
}

/** Fields of a document's source, by its type. */
const sourceFields: ReadonlyMap<string, FieldTable> = new Map(
  Object.entries({
    text: ['media_type', 'data'],
    content: ['content'],
    base64: ['media_type', 'data'],
    url: ['url'],
    file: ['file_id'],
  }).map(([type, names]) => [type, sourceTable(names)]),
)

function sourceTable(names: readonly string[]): FieldTable {
  return fieldTable('content[].source.', {
    type: { kind: 'own' },
    ...Object.fromEntries(names.map((name) => [name, { kind: 'own' } as const])),
  })
}

function readDocument(reading: Reading, block: JsonObject, at: string): Denial | undefined {
  for (const name of ['title', 'context', 'citations']) {
    const value = block.get(name) ?? null
    if (value !== null) reading.sayJson('document', value)
  }
  const source = block.get('source')
  if (!isObject(source)) return invalid(`${at}.source`, 'an object')
  const type = source.get('type')
  const table = typeof type === 'string' ? sourceFields.get(type) : undefined
  if (table === undefined) {
    return invalid(`${at}.source.type`, `one of ${[...sourceFields.keys()].join(', ')}`)
  }
  const denial = readFields(reading, source, table, `${at}.source.`)
  if (denial !== undefined) return denial
  if (type === 'content') {
    return readContent(reading, source.get('content'), 'document', `${at}.source.content`)
  }
  if (type === 'text') {
    if (typeof source.get('data') !== 'string') return invalid(`${at}.source.data`, 'a string')
    reading.sayJson('document', source)
    return undefined
  }
  reading.guarded.add(documentFile)
  reading.say('document', textOfMedia(source))
  return undefined
}

function readSearchResult(reading: Reading, block: JsonObject, at: string): Denial | undefined {
  for (const name of ['source', 'title', 'citations']) {
    const value = block.get(name) ?? null
    if (value !== null) reading.sayJson('document', value)
  }
  return readContent(reading, block.get('content'), 'document', `${at}.content`)
}
