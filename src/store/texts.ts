import type { Redis } from 'ioredis'
import type { Script } from './script.js'

/**
 * What is sent to a server has a number, and so has the text of a script. Redis runs what comes on a connection in its
 * order: what is sent behind a text finds the script there.
 */
export interface Texts {
  /** Of what is sent next. */
  nextNumber(): number
  /** The text is sent as this number. */
  sent(script: Script, number: number): void
  /** Was the text sent since? */
  wasSentSince(script: Script, number: number): boolean
}

export function createTexts(): Texts {
  let numbers = 0
  const sentAs = new Map<Script['digest'], number>()
  return {
    nextNumber: () => (numbers += 1),
    sent(script, number) {
      sentAs.set(script.digest, number)
    },
    wasSentSince: (script, number) => (sentAs.get(script.digest) ?? 0) > number,
  }
}

/**
 * Has Redis load the scripts that it lacks, so that no call has to bring them. It is asked first: after a lost
 * connection it has them all, and a fleet that comes back together sends it digests. One text is under way at a time, so
 * that what is decided meanwhile waits behind one at most. Whatever Redis says to that is no failure: a user may lack
 * the right, and a call still brings what is missing.
 */
export async function loadMissing(
  client: Pick<Redis, 'call'>,
  scripts: readonly Script[],
  texts: Texts,
): Promise<void> {
  if (scripts.length === 0) return
  const number = texts.nextNumber()
  try {
    const digests = scripts.map(({ digest }) => digest)
    const known = (await client.call('SCRIPT', 'EXISTS', ...digests)) as readonly number[]
    for (const [index, script] of scripts.entries()) {
      // A call may have brought it since.
      if (known[index] === 1 || texts.wasSentSince(script, number)) continue
      await client.call('SCRIPT', 'LOAD', script.text)
    }
  } catch {
    // The next connection tries again.
  }
}
