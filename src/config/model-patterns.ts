import { matchesPattern } from '../policy.js'
import type { KeyPath, SayFault } from './faults.js'
import { soundItems, wrong } from './partly.js'
import type { Wrong } from './partly.js'
import type { FileContent } from './schema.js'

/** The names of models that are well formed, each with its model. */
export function namedModels({ models }: FileContent) {
  return soundItems(models).flatMap(({ item: model }) =>
    model.name === wrong ? [] : [{ model, name: model.name }],
  )
}

/** A pattern that matches no model binds or grants nothing: a typing error, most likely. */
export function checkModelPatterns(
  patterns: readonly (string | Wrong)[] | Wrong,
  at: KeyPath,
  content: FileContent,
  fault: SayFault,
): void {
  const named = namedModels(content)
  // A model whose name is wrong may be the one that is meant.
  const complete = content.models !== wrong && named.length === content.models.length
  for (const { index, item: pattern } of soundItems(patterns)) {
    if (named.some(({ name }) => matchesPattern(pattern, name))) continue
    const aliased = named.find(
      ({ model }) => model.aliases !== wrong && model.aliases.includes(pattern),
    )
    if (aliased !== undefined) {
      fault([...at, index], `the name of the model, not its alias: ${aliased.name}`)
    } else if (complete) {
      fault([...at, index], 'a pattern that matches a model of this file')
    }
  }
}
