import type { KeyPath } from './faults.js'
import type { YamlDocument } from './yaml-document.js'

/**
 * A place in Envoy's configuration: the value, and the way to it for a fault. Envoy reads protobuf's JSON form,
 * in which a field is called `max_request_bytes` or `maxRequestBytes`; both are found.
 */
export interface Place {
  readonly at: KeyPath
  readonly value: unknown
}

/** The field `name` (in snake_case) of a message; its value is undefined when it is not there. */
export function field(place: Place, name: string): Place {
  if (!isMessage(place.value)) return { at: [...place.at, name], value: undefined }
  const camelName = name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase())
  const key = !(name in place.value) && camelName in place.value ? camelName : name
  return { at: [...place.at, key], value: place.value[key] }
}

/** A field of a field. */
export function fieldAt(place: Place, ...names: readonly string[]): Place {
  return names.reduce(field, place)
}

/** Entries of a repeated field; none when it is not there. */
export function items(place: Place): readonly Place[] {
  if (!Array.isArray(place.value)) return []
  return place.value.map((value: unknown, index) => ({ at: [...place.at, index], value }))
}

/** An entry of a map, whose key is never in another spelling. */
export function entry(place: Place, key: string): Place {
  const value = isMessage(place.value) ? place.value[key] : undefined
  return { at: [...place.at, key], value }
}

/** Entries of a map. */
export function entriesOf(place: Place): readonly (readonly [string, Place])[] {
  if (!isMessage(place.value)) return []
  return Object.keys(place.value).map((key) => [key, entry(place, key)])
}

export function isThere(place: Place): boolean {
  return place.value !== undefined && place.value !== null
}

export function textOf(place: Place): string | undefined {
  return typeof place.value === 'string' ? place.value : undefined
}

/** A whole number; protobuf's JSON form has 64-bit numbers as text. */
export function numberOf(place: Place): number | undefined {
  if (typeof place.value === 'number') return place.value
  const written = textOf(place)
  return written !== undefined && /^[0-9]{1,15}$/.test(written) ? Number(written) : undefined
}

/** Milliseconds of a protobuf duration, as `1800s` or `0.25s`. */
export function durationMsOf(place: Place): number | undefined {
  const match = /^([0-9]{1,12}(?:\.[0-9]{1,9})?)s$/.exec(textOf(place) ?? '')
  return match?.[1] === undefined ? undefined : Number(match[1]) * 1000
}

/** Is the value a message of this type, given as the last part of its name? */
export function isOfType(place: Place, type: string): boolean {
  const name = textOf(entry(place, '@type'))
  return name?.slice(name.lastIndexOf('.') + 1) === type
}

/** Every message of this type, wherever it stands. */
export function findAll(document: YamlDocument, type: string): readonly Place[] {
  const found: Place[] = []
  function look(place: Place): void {
    if (Array.isArray(place.value)) {
      items(place).forEach(look)
      return
    }
    if (isOfType(place, type)) found.push(place)
    for (const [, inner] of entriesOf(place)) look(inner)
  }
  look({ at: [], value: document.value })
  return found
}

function isMessage(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
