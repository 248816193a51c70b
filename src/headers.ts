/** Request headers: lower-case names, one entry per line as received, pseudo headers left out. */
export type Headers = ReadonlyMap<string, readonly string[]>

/** The value of a header that may come once; undefined when it is missing, `repeated` when it came twice. */
export function single(headers: Headers, name: string): string | undefined | { repeated: true } {
  const values = headers.get(name)
  if (values === undefined || values.length === 0) return undefined
  return values.length === 1 ? values[0] : { repeated: true }
}
