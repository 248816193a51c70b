import type { ErrorCode, YAMLError } from 'yaml'

/**
 * What would be right where the YAML library stumbles: sentences of our own, for its own are advice for a programmer,
 * and some repeat the text, which could be a secret in the wrong place.
 */
export function syntaxSentence({ code, message }: Pick<YAMLError, 'code' | 'message'>): string {
  const byMessage = sentencesByMessage.find(([pattern]) => pattern.test(message))
  return byMessage?.[1] ?? sentences[code] ?? 'YAML that can be read'
}

export const noTag = 'no tag (a word after !)'
export const fittingTag = 'a value that fits its tag, or no tag'

const oneColumn = 'what belongs together in one column, and what is inside it further right'
const keyAndValue = 'KEY: VALUE on one line, with a colon and a space'
const commas = 'a comma between the entries of { } or [ ], and every entry as KEY: VALUE or VALUE'
const closing =
  'a closing } or ] for every { or [, and all that is inside further right than its key'

/** For codes that are said of different mistakes. */
const sentencesByMessage: readonly (readonly [RegExp, string])[] = [
  [/^Flow .* must be sufficiently indented/, closing],
  [/^Missing closing .quote/, 'a closing quote'],
  [/^Missing , (between|or :)/, commas],
  [/^Implicit map keys need/, keyAndValue],
  [/^Sequence item without -/, oneColumn],
  [/^Comments must be separated/, 'a space before #'],
  [/^Tags and anchors must be separated/, 'a space after the anchor or tag'],
  [/directives-end/, '--- on a line of its own, after lines that begin with %'],
]

const sentences: Partial<Record<ErrorCode, string>> = {
  ALIAS_PROPS: 'an alias without an anchor or tag',
  BAD_ALIAS: 'a name after & or *, which ends in no colon',
  BAD_DIRECTIVE: 'no line that begins with %',
  BAD_DQ_ESCAPE: 'an escape of YAML after \\, or single quotes around the text',
  BAD_INDENT: oneColumn,
  BAD_SCALAR_START: 'quotes around a text that begins with @, ` or %',
  BLOCK_AS_IMPLICIT_KEY:
    'keys of one mapping in one column, and quotes around a text with a colon and a space in it',
  BLOCK_IN_FLOW: commas,
  KEY_OVER_1024_CHARS: 'a key of at most 1024 characters',
  MULTILINE_IMPLICIT_KEY: keyAndValue,
  MULTIPLE_ANCHORS: 'one anchor',
  MULTIPLE_DOCS: 'one document, without a second one after ---',
  MULTIPLE_TAGS: noTag,
  RESOURCE_EXHAUSTION: 'fewer levels inside each other',
  TAB_AS_INDENT: 'spaces before what stands here, no tab',
  TAG_RESOLVE_FAILED: noTag,
  UNEXPECTED_TOKEN:
    'nothing more here, the column of the lines above, or quotes around the whole text',
}
