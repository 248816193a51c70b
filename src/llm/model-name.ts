import type { Denial } from '../denial.js'
import { invalid } from './fields.js'
import type { JsonObject } from './json.js'

/**
 * The model that a body names: printable ASCII without spaces, 1 to 256 characters. Names are compared exactly,
 * so what looks like another name in another script has nothing to gain, and what is logged stays on one line.
 */
export function modelName(body: JsonObject): string | Denial {
  const model = body.get('model')
  if (typeof model !== 'string' || !/^[\x21-\x7e]{1,256}$/.test(model)) {
    return invalid('model', 'the name of a model')
  }
  return model
}
