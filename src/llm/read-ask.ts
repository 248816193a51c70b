import { isDenial } from '../denial.js'
import type { Denial } from '../denial.js'
import type { Ask } from './ask.js'
import type { Dialect } from './dialect.js'
import { readFields } from './fields.js'
import type { JsonObject } from './json.js'
import { survivesRewrite } from './json-text.js'
import { modelName } from './model-name.js'
import { startReading } from './reading.js'

/**
 * What a body asks for. No dialect makes an `Ask` by itself: here the whole body is held against the dialect's
 * closed list first, so that no dialect can forget to, and what it reads afterwards is well formed.
 *
 * @param path one of `dialect.paths`
 */
export function readAsk(dialect: Dialect, path: string, body: JsonObject): Ask | Denial {
  const model = modelName(body)
  if (typeof model !== 'string') return model
  const reading = startReading(dialect.guardedNames)
  const denial = readFields(reading, body, dialect.fieldsOf(path), '')
  if (denial !== undefined) return denial
  const terms = dialect.read(reading, path, body)
  if (isDenial(terms)) return terms
  return {
    ...terms,
    dialect: dialect.name,
    model,
    segments: reading.segments,
    markupTokens: reading.markupTokens(),
    // Nobody knows what an unknown field does.
    teachesRates: terms.choices === 1 && reading.reshaping.size === 0 && reading.unknown.size === 0,
    rewritable: survivesRewrite(body),
    unknownFields: [...reading.unknown],
    guardedFields: [...reading.guarded],
  }
}
