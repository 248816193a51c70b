import { formatPath } from './faults.js'
import type { KeyPath, SayFault } from './faults.js'
import { given, soundItems, wrong } from './partly.js'
import type { Partly } from './partly.js'
import type { redisPlace } from './schema-redis.js'

/** Where a Redis is; one of them says it. */
const places = ['url', 'sentinel', 'cluster'] as const

type RedisShape = ReturnType<typeof redisPlace>

/** A section that names a Redis, as far as it is well formed. */
export type RedisSection = { readonly [Key in keyof RedisShape]: Partly<RedisShape[Key]> }

/**
 * Rules of a section that names a Redis, which join several of its keys.
 *
 * @param at the section itself
 * @param why it needs one, as messages say it; empty if that is plain
 */
export function checkRedis(section: RedisSection, at: KeyPath, why: string, fault: SayFault): void {
  const named = (key: string): string => `${formatPath(at)}.${key}`
  const said = places.filter((key) => section[key] !== undefined)
  if (said.length === 0) {
    fault(
      [...at, 'url'],
      `redis://HOST:PORT, rediss://HOST:PORT or unix:///PATH, or ${named('sentinel')} or ${named('cluster')}${why}`,
    )
  }
  for (const key of said.slice(1)) {
    fault([...at, key], `to be left out, since ${named(said[0] ?? '')} says where Redis is`)
  }

  const { url, sentinel, tls, user, passwordFile } = section
  const urls: [where: string, url: string][] = []
  for (const key of ['sentinel', 'cluster'] as const) {
    const place = section[key]
    const nodes = soundItems(place === wrong ? wrong : (place?.nodes ?? []))
    for (const { index, item } of nodes) {
      const [first] = nodes
      if (first !== undefined && isSecure(item) !== isSecure(first.item)) {
        fault(
          [...at, key, 'nodes', index],
          'redis:// or rediss://, the same in all items of the list',
        )
      }
      urls.push([named(`${key}.nodes`), item])
    }
  }
  if (url !== wrong && url !== undefined) urls.unshift([named('url'), url])
  const [one] = urls
  if (one !== undefined && tls !== undefined && !isSecure(one[1])) {
    fault([...at, 'tls'], `to be left out, or ${one[0]} to begin with rediss://`)
  }
  given([user, passwordFile], (name, file) => {
    if (name !== undefined && file === undefined) {
      fault([...at, 'passwordFile'], `the file with the password of ${named('user')}`)
    }
  })
  if (sentinel === wrong) return
  given([sentinel?.user, sentinel?.passwordFile], (name, file) => {
    if (name !== undefined && file === undefined) {
      fault(
        [...at, 'sentinel', 'passwordFile'],
        `the file with the password of ${named('sentinel.user')}`,
      )
    }
  })
}

function isSecure(url: string): boolean {
  return url.startsWith('rediss:')
}
