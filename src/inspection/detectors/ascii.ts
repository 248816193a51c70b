/** What an ASCII unit is; NaN (beyond the end of a text) is nothing. */
export const isDigit = (unit: number): boolean => unit >= 0x30 && unit <= 0x39

export const isLetter = (unit: number): boolean => (unit | 0x20) >= 0x61 && (unit | 0x20) <= 0x7a

/** Letter, digit or `_`: what continues a word. */
export const isAlphanumeric = (unit: number): boolean =>
  isDigit(unit) || isLetter(unit) || unit === 0x5f
