import type { SayFault } from './faults.js'
import { given, soundItems, wrong } from './partly.js'
import type { FileContent } from './schema.js'

/** Where a Redis ledger is; one of them says it. */
const places = ['url', 'sentinel', 'cluster'] as const

/** Rules of the section `ledger` that join several keys. */
export function checkLedger({ ledger }: FileContent, fault: SayFault): void {
  for (const key of [...places, 'tls', 'user', 'passwordFile', 'processes'] as const) {
    given([ledger.kind, ledger[key]], (kind, value) => {
      if (kind === 'memory' && value !== undefined) {
        fault(['ledger', key], 'to be left out, since ledger.kind is memory')
      }
    })
  }
  if (ledger.kind !== 'redis') return

  const said = places.filter((key) => ledger[key] !== undefined)
  if (said.length === 0) {
    fault(
      ['ledger', 'url'],
      'redis://HOST:PORT, rediss://HOST:PORT or unix:///PATH, or ledger.sentinel or ledger.cluster, since ledger.kind is redis',
    )
  }
  for (const key of said.slice(1)) {
    fault(['ledger', key], `to be left out, since ledger.${said[0] ?? ''} says where Redis is`)
  }

  const { sentinel, tls, user, passwordFile } = ledger
  const urls: [where: string, url: string][] = []
  for (const key of ['sentinel', 'cluster'] as const) {
    const place = ledger[key]
    const nodes = soundItems(place === wrong ? wrong : (place?.nodes ?? []))
    for (const { index, item } of nodes) {
      const [first] = nodes
      if (first !== undefined && isSecure(item) !== isSecure(first.item)) {
        fault(
          ['ledger', key, 'nodes', index],
          'redis:// or rediss://, the same in all items of the list',
        )
      }
      urls.push([`ledger.${key}.nodes`, item])
    }
  }
  if (ledger.url !== wrong && ledger.url !== undefined) urls.unshift(['ledger.url', ledger.url])
  const [one] = urls
  if (one !== undefined && tls !== undefined && !isSecure(one[1])) {
    fault(['ledger', 'tls'], `to be left out, or ${one[0]} to begin with rediss://`)
  }
  given([user, passwordFile], (name, file) => {
    if (name !== undefined && file === undefined) {
      fault(['ledger', 'passwordFile'], 'the file with the password of ledger.user')
    }
  })
  if (sentinel === wrong) return
  given([sentinel?.user, sentinel?.passwordFile], (name, file) => {
    if (name !== undefined && file === undefined) {
      fault(
        ['ledger', 'sentinel', 'passwordFile'],
        'the file with the password of ledger.sentinel.user',
      )
    }
  })
}

function isSecure(url: string): boolean {
  return url.startsWith('rediss:')
}
