import { expect } from 'vitest'
import { isDenial } from '../../src/denial.js'
import type { Denial } from '../../src/denial.js'
import type { Ask } from '../../src/llm/ask.js'
import { dialectForPath } from '../../src/llm/dialects.js'
import { parseJson } from '../../src/llm/json.js'
import { readAsk } from '../../src/llm/read-ask.js'

/** Reads a body as the gate does: bytes, JSON, dialect. A string is sent as it is. */
export function readBody(path: string, body: unknown): Ask | Denial {
  const text = typeof body === 'string' ? body : JSON.stringify(body)
  const json = parseJson(new TextEncoder().encode(text))
  if (isDenial(json)) return json
  const dialect = dialectForPath(path)
  if (dialect === undefined) throw new Error(`no dialect reads ${path}`)
  return readAsk(dialect, path, json)
}

export function ask(path: string, body: unknown): Ask {
  const answer = readBody(path, body)
  if (isDenial(answer)) throw new Error(`${answer.reason}: ${answer.message}`)
  return answer
}

export function refusal(path: string, body: unknown): Denial {
  const answer = readBody(path, body)
  if (!isDenial(answer)) throw new Error('the body was read')
  return answer
}

/** That a body is refused as `request_invalid`, naming the field at fault. */
export function expectInvalid(path: string, body: unknown, param: string, mustBe: string): void {
  const denial = refusal(path, body)
  expect(denial).toMatchObject({ reason: 'request_invalid', param })
  expect(denial.message).toBe(`The field "${param}" must be ${mustBe}.`)
}

/** Every string and name of a value, with the path to it. */
export function stringsOf(value: unknown, at = ''): readonly (readonly [string, string])[] {
  if (typeof value === 'string') return [[at, value]]
  if (Array.isArray(value)) {
    return value.flatMap((item: unknown, index) => stringsOf(item, `${at}[${String(index)}]`))
  }
  if (typeof value !== 'object' || value === null) return []
  return Object.entries(value).flatMap(([name, member]) => stringsOf(member, `${at}.${name}`))
}
