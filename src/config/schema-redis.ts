import { SECOND_MS } from '../units.js'
import {
  filePath,
  mapping,
  name,
  redisNode,
  redisUrl,
  someOf,
  text,
  wholeNumber,
} from './values.js'

const redisUser = () =>
  text('a user name of Redis, of 1 to 64 printable characters without spaces', (value) =>
    /^[!-~]{1,64}$/.test(value),
  )

/** Keys that say where a Redis is and how it is entered. Of `url`, `sentinel` and `cluster` one says where (`redis-rules.ts`). */
export const redisPlace = () => ({
  url: redisUrl().optional(),
  sentinel: mapping({
    /** The name by which the Sentinels know the master. */
    master: name(),
    /** Any of them will do; with `rediss://` the master is spoken to by TLS as well. */
    nodes: someOf(redisNode(), 32),
    user: redisUser().optional(),
    passwordFile: filePath('a file that holds a password').optional(),
  }).optional(),
  cluster: mapping({
    /** Some of its masters or replicas: any of them knows the rest. */
    nodes: someOf(redisNode(), 32),
  }).optional(),
  tls: mapping({
    /** Who may have issued the server's certificate; without it, the authorities that Node knows. */
    caFile: filePath('a PEM bundle of certificate authorities'),
  }).optional(),
  user: redisUser().optional(),
  /** Read at each connect, so that the password can change while Tollgate runs. */
  passwordFile: filePath('a file that holds a password').optional(),
})

/** How long one call of a Redis may take. */
export const redisTimeout = (fallbackMs: number) =>
  wholeNumber(10, 5 * SECOND_MS, 'milliseconds').default(fallbackMs)
