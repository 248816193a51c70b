import { expect, test } from 'vitest'
import { createScript } from '../../src/store/store.js'
import { createTexts, loadMissing } from '../../src/store/texts.js'

test('a text that a call brings while the scripts are being loaded is not sent once more', async () => {
  const scripts = ['return 1', 'return 2', 'return 3'].map((text) => createScript(text))
  const texts = createTexts()
  const sent: unknown[] = []
  const call = (...command: unknown[]): Promise<unknown> => {
    sent.push(command.slice(0, 3))
    const [, brought] = scripts
    if (sent.length === 2 && brought !== undefined) texts.sent(brought, texts.nextNumber())
    return Promise.resolve([0, 0, 0])
  }
  await loadMissing({ call }, scripts, texts)
  expect(sent).toEqual([
    ['SCRIPT', 'EXISTS', scripts[0]?.digest],
    ['SCRIPT', 'LOAD', 'return 1'],
    ['SCRIPT', 'LOAD', 'return 3'],
  ])
})
