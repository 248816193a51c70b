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
