/** Who put a text into a prompt: decides which thresholds and detectors apply to it. */
export type Provenance =
  | 'system'
  | 'user'
  | 'assistant'
  /** What a tool returned: written by nobody the operator trusts. */
  | 'tool'
  /** Names, descriptions and schemas of the tools the caller offers. */
  | 'tool_definition'
  /** Retrieved or attached documents. */
  | 'document'

/** Text that came from outside the conversation; an instruction in it is an attack by definition. */
export function isUntrusted(provenance: Provenance): boolean {
  return provenance === 'tool' || provenance === 'document'
}

/** One text of a prompt with its provenance. The unit that inspection reads and the tokenizer counts. */
export interface Segment {
  readonly provenance: Provenance
  readonly text: string
  /** Where the text was joined from parts; missing where it is one. */
  readonly joints?: Joints
}

/** Offsets, in order, of the `JOINT`s between the parts of a text: a template may print nothing there. */
export type Joints = readonly number[]

/** What a template puts between two parts, if anything; also the word boundary between them. */
export const JOINT = '\n'

/** Neighbouring parts as one text. */
export function joinParts(parts: readonly string[]): { text: string; joints: Joints } {
  const joints: number[] = []
  let length = 0
  for (const part of parts.slice(0, -1)) {
    length += part.length
    joints.push(length++)
  }
  return { text: parts.join(JOINT), joints }
}
