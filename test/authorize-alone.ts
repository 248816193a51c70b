import { authorize as authorizeIn } from '../src/authorize.js'
import type { AuthorizeParts } from '../src/authorize.js'
import type { Decision } from '../src/decision.js'
import type { IncomingRequest } from '../src/request.js'
import type { Turn } from '../src/turns.js'

const endless: Turn = { goOn: () => Promise.resolve(endless) }

/** As in a process that is asked nothing else meanwhile. */
export function authorize(request: IncomingRequest, parts: AuthorizeParts): Promise<Decision> {
  return authorizeIn(request, parts, endless)
}
