/**
 * Makes the value of each key once, and keeps those of the latest `max` keys: one more takes the place of the oldest.
 *
 * @param make called with what came beside the key; the same key always comes with the same
 */
export function keepLatest<Key, Input, Value>(
  max: number,
  make: (input: Input) => Value,
): (key: Key, input: Input) => Value {
  const kept = new Map<Key, Value>()
  return (key, input) => {
    const known = kept.get(key)
    if (known !== undefined) return known
    const value = make(input)
    // A map keeps the order in which its keys came.
    const [oldest] = kept.keys()
    if (kept.size >= max && oldest !== undefined) kept.delete(oldest)
    kept.set(key, value)
    return value
  }
}
