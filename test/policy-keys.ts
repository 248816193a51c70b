import { z } from 'zod'
import { entries } from '../src/config/schema-entries.js'
import { sections } from '../src/config/schema.js'

/** What a key of the policy is when the file does not say it. `none`: it may be left out and then is nothing. */
export type Fallback =
  | { readonly kind: 'required' }
  | { readonly kind: 'none' }
  | { readonly kind: 'value'; readonly value: unknown }

export interface PolicyKey {
  /** As `issuers[].tenant.claim`. */
  readonly path: string
  readonly fallback: Fallback
  /** "min to max", of a number, where min may be another key and a sum; undefined for anything else. */
  readonly range: string | undefined
  /** What it may be, of a closed list; empty for anything else. */
  readonly words: readonly string[]
}

const required: Fallback = { kind: 'required' }

/** Every key that the schema knows. */
export const policyKeys: readonly PolicyKey[] = [
  ...Object.entries(sections).flatMap(([name, schema]) => keysOf(name, schema, required)),
  ...Object.entries(entries).flatMap(([name, schema]) => keysOf(`${name}[]`, schema, required)),
]

function keysOf(path: string, schema: z.ZodType, fallback: Fallback): readonly PolicyKey[] {
  if (schema instanceof z.ZodOptional) {
    const inner = schema.unwrap() as z.ZodType
    return keysOf(path, inner, fallback.kind === 'required' ? { kind: 'none' } : fallback)
  }
  if (schema instanceof z.ZodDefault || schema instanceof z.ZodPrefault) {
    const value: unknown = schema.def.defaultValue
    return keysOf(path, schema.unwrap() as z.ZodType, { kind: 'value', value })
  }
  if (schema instanceof z.ZodObject) {
    return Object.entries(schema.shape as Record<string, z.ZodType>).flatMap(([name, inner]) =>
      keysOf(`${path}.${name}`, inner, ofMember(fallback, name)),
    )
  }
  if (schema instanceof z.ZodArray && schema.element instanceof z.ZodObject) {
    return keysOf(`${path}[]`, schema.element, required)
  }
  const message = messageOf(schema)
  const range = /\bfrom (\d+|[A-Za-z]+ \+ \d+) to (\d+)$/.exec(message)
  const item = schema instanceof z.ZodArray ? messageOf(schema.element as z.ZodType) : message
  return [
    {
      path,
      fallback,
      range: range === null ? undefined : `${range[1] ?? ''} to ${range[2] ?? ''}`,
      words: /^one of ([A-Za-z0-9_, ]+)$/.exec(item)?.[1]?.split(', ') ?? [],
    },
  ]
}

/** The default of a section may name values of its keys, as `{ kind: memory }`. */
function ofMember(fallback: Fallback, name: string): Fallback {
  if (fallback.kind !== 'value') return required
  const members = fallback.value as Record<string, unknown>
  return Object.hasOwn(members, name) ? { kind: 'value', value: members[name] } : required
}

/** What the schema says would be right. */
function messageOf(schema: z.ZodType): string {
  const result = schema.safeParse(Symbol('never right'))
  return result.success ? '' : (result.error.issues[0]?.message ?? '')
}
