import { CST, Lexer } from 'yaml'

/** The first document of a text, and where and with what it ends if another one follows. */
export interface FirstDocument {
  readonly text: string
  readonly end: { readonly line: number; readonly marker: string } | undefined
}

/**
 * What Go's yaml.v2 reads of a text: it stops at the `---` or `...` behind the first document, and does not look whether
 * the rest is YAML.
 */
export function firstDocument(text: string): FirstDocument {
  const whole = { text, end: undefined }
  if (!/^(---|\.\.\.)(?=\s|$)/m.test(text)) return whole
  const end = endOfFirst(text)
  if (end === undefined) return whole
  const { at, marker } = end
  const rest = text.slice(at + marker.length).split('\n')
  const first = text.slice(0, at)
  if (rest.every((line) => /^\s*(#|$)/.test(line))) return { text: first, end: undefined }
  return { text: first, end: { line: first.split('\n').length, marker } }
}

function endOfFirst(text: string): { readonly at: number; readonly marker: string } | undefined {
  let at = 0
  /** In it, and behind its first word, which may be a `---` of its own. */
  let isInside = false
  let hasBegun = false
  let isScalar = false
  for (const lexeme of new Lexer().lex(text)) {
    const isText = isScalar
    isScalar = lexeme === CST.SCALAR
    if (lexeme === CST.DOCUMENT) hasBegun = true
    if (lexeme === CST.DOCUMENT || lexeme === CST.FLOW_END || isScalar) continue
    const type = isText ? 'scalar' : CST.tokenType(lexeme)
    if (isInside && type === 'doc-start') return { at, marker: '---' }
    if (hasBegun && type === 'doc-end') return { at, marker: '...' }
    isInside = hasBegun
    at += lexeme.length
  }
  return undefined
}
