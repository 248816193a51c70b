/** Characters of a text that are examined; more tell nothing new. */
const SAMPLE_UNITS = 256

/** Shannon entropy of the characters, in bits each: random base64 has 4 to 6, words about 3, fillers below 2. */
export function entropyBits(text: string): number {
  const counts = new Map<string, number>()
  const sample = text.slice(0, SAMPLE_UNITS)
  for (const character of sample) counts.set(character, (counts.get(character) ?? 0) + 1)
  let bits = 0
  for (const count of counts.values())
    bits -= (count / sample.length) * Math.log2(count / sample.length)
  return bits
}

/**
 * Does the text look drawn at random, as the secret part of a credential does? It does not repeat itself and is
 * no sample of a documentation.
 */
export function looksDrawn(text: string): boolean {
  const sample = text.slice(0, SAMPLE_UNITS)
  if (/example|xxxx|your|1234567|abcdefg|00000000/i.test(sample)) return false
  // Twenty random characters of sixteen kinds have 3.1 bits or more in all but one case of a hundred.
  return entropyBits(sample) >= Math.min(3.1, Math.log2(sample.length) * 0.8)
}

/** `looksDrawn`, and letters and digits in it: words have no digits, numbers no letters. */
export function looksRandom(text: string): boolean {
  const sample = text.slice(0, SAMPLE_UNITS)
  return /[0-9]/.test(sample) && /[a-z]/i.test(sample) && looksDrawn(sample)
}

/**
 * Is the text made of words, as `o200k_base`, `see_appendix_4` or `Qwen2TokenizerFast` is? Letters that follow each
 * other as they do in words were not drawn: a secret has six characters of its own or more, and they are half of it.
 */
export function looksWorded(text: string): boolean {
  const sample = text.slice(0, SAMPLE_UNITS).replace(/[^a-z0-9]+/gi, '_')
  let units = 0
  let drawn = 0
  for (let index = 0; index < sample.length; index++) {
    const unit = sample.charAt(index)
    if (unit === '_') continue
    units++
    if (!followsInWords(sample.charAt(index - 1), unit)) drawn++
  }
  return drawn < 6 || drawn * 2 < units
}

/** A letter after a letter that it often follows, or once more the same; a capital after a small letter begins a word. */
function followsInWords(before: string, unit: string): boolean {
  if (before === unit) return true
  if (/[a-z]/.test(before) && /[A-Z]/.test(unit)) return false
  return commonAfter[before.toLowerCase()]?.includes(unit.toLowerCase()) === true
}

/** The 200 commonest pairs of letters in 35,000 English words: 92 of 100 pairs in words, 30 of 100 in random letters. */
const commonAfter: Readonly<Record<string, string>> = {
  ...{ a: 'bcdgiklmnprstuvy', b: 'aeiloru', c: 'aehiklortu', d: 'aeiorsu', e: 'acdefglmnprstvx' },
  ...{ f: 'aefiou', g: 'aehiru', h: 'aeio', i: 'abcdefglmnoprstvz', k: 'ei', l: 'adeilostuy' },
  ...{ m: 'aeimopu', n: 'acdefginostu', o: 'cdgilmnoprstuvw', p: 'aehiloprtu', q: 'u' },
  ...{ r: 'acdegimnorstuy', s: 'acehiopstu', t: 'aehiorstuy', u: 'acegilmnprst', v: 'aeio' },
  ...{ w: 'aeio', x: 'p' },
}
