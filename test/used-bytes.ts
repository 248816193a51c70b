import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

/** What of the heap of this process is in use, nothing that could be collected among it. */
export function usedBytes(): number {
  collect()
  return process.memoryUsage().heapUsed
}
