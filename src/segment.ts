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
}
