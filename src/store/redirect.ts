/** A node of a cluster has run nothing, and says who would, or that nobody can at this moment. */
export type Redirect =
  | {
      readonly kind: 'MOVED' | 'ASK'
      /** Empty: the same as the node's that answered. */
      readonly host: string
      readonly port: number
    }
  | { readonly kind: 'TRYAGAIN' }

/** @param error its message is `MOVED 3999 127.0.0.1:6381`; an IPv6 address has colons of its own, and no brackets */
export function redirectFrom(code: string, error: unknown): Redirect | undefined {
  if (code === 'TRYAGAIN') return { kind: code }
  if (code !== 'MOVED' && code !== 'ASK') return undefined
  const message = error instanceof Error ? error.message : ''
  const [, host, port] = /^[A-Z]+ \d{1,5} ([^ ?]{0,255}):(\d{1,5})$/.exec(message) ?? []
  // A host that the node does not know itself is `?`: nowhere to go.
  return host === undefined ? undefined : { kind: code, host, port: Number(port) }
}
