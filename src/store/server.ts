import type { Redis } from 'ioredis'
import type { Clock } from '../clock.js'
import { createBreaker } from './breaker.js'
import type { Admitted } from './breaker.js'
import type { Call, Reply } from './call.js'
import { openConnection } from './connection.js'
import {
  describeReply,
  errorCode,
  isOfScript,
  OutOfMemoryError,
  refusedFault,
  ScriptError,
  UnansweredError,
} from './faults.js'
import type { Access, Place } from './place.js'
import { createProbes } from './probes.js'
import { redirectFrom } from './redirect.js'
import type { Redirect } from './redirect.js'
import { createRedisClock, redisNowMs } from './redis-clock.js'
import type { Script } from './script.js'
import { createSilence } from './silence.js'
import { createTexts, loadMissing } from './texts.js'

/** One server with a connection, a breaker and a clock of its own. Each call is answered in time or has failed. */
export interface Server {
  /**
   * @param asking the node is to answer for a slot that is being moved to it
   * @throws UnansweredError it may have taken effect
   * @throws ScriptError nothing took effect, and nothing is wrong with the store
   * @throws DependencyError nothing took effect
   */
  run(call: Call, asking: boolean): Promise<Reply | Redirect>
  /** As `Store.probe`. */
  probe(): void
  /** What its clock shows, as far as this process knows; undefined before the first connection. */
  nowMs(): number | undefined
  /** For how long it has answered nobody, while it owes an answer. */
  silentMs(): number
  close(): void
}

export interface ServerParts {
  readonly clock: Pick<Clock, 'monotonicMs'>
  readonly random: () => number
  /** `reason` is safe to log. Told once per outage. */
  readonly onUnavailable?: (reason: string) => void
  readonly onAvailable?: () => void
  /** As of `ConnectionParts`. */
  readonly find: () => Promise<Place>
  readonly access: Access
  /** It is one of a cluster: where it sends us instead is an answer, no failure. */
  readonly redirects: boolean
  /** Those that it will be asked for, the most needed first: each new connection sees to it that Redis has them. */
  readonly scripts?: readonly Script[]
}

/** What has become of a call so far. */
interface Course {
  /** The number of the command to which Redis answered that it does not know the script. */
  forgottenAt: number | undefined
  /** It was asked behind a text that another call brought, and Redis had forgotten that, too. */
  wasForgottenAgain: boolean
  /** No answer came in time, or Redis came to it too late. */
  isOverdue: boolean
}

/** What the clocks may drift apart since the last answer: upkeep asks every second. */
const DRIFT_MARGIN_MS = 2

const FAULTS_TO_OPEN = 5
/** Between two probes of a store that does not answer. */
const PROBE_PAUSE_MS = 250

export function openServer(parts: ServerParts): Server {
  const { clock, random, find, access, redirects, onUnavailable, onAvailable } = parts
  const { scripts = [] } = parts
  const texts = createTexts()
  const redisClock = createRedisClock()
  const silence = createSilence(clock)
  const probes = createProbes()
  let available = true
  let loadingOn: Redis | undefined

  function tell(now: boolean, reason = ''): void {
    if (now === available) return
    available = now
    if (now) onAvailable?.()
    else onUnavailable?.(reason)
  }

  const connection = openConnection({
    find,
    access,
    clock,
    redisClock,
    random,
    onLost: (reason) => {
      tell(false, reason)
    },
    onConnected: (client) => {
      load(client)
      // A connection alone is not enough: with faults behind it, the next answer tells.
      if (!breaker.isOpen()) tell(true)
    },
  })
  const breaker = createBreaker({
    faultsToOpen: FAULTS_TO_OPEN,
    pauseMs: PROBE_PAUSE_MS,
    clock,
    onOpen: () => {
      tell(false, 'Redis does not answer as it should')
    },
    onClose: () => {
      tell(true)
    },
  })

  function renew(): void {
    // The old connection fails its calls when it has closed, which takes seconds where nothing is answered.
    silence.forget()
    connection.renew()
  }

  /** One at a time on a connection. */
  function load(client: Redis): void {
    if (loadingOn === client) return
    loadingOn = client
    void loadMissing(client, scripts, texts).finally(() => {
      if (loadingOn === client) loadingOn = undefined
    })
  }

  async function clientBy(dueMonotonicMs: number): Promise<Redis> {
    const client = connection.client()
    if (client !== undefined) return client
    // Only at the start there is something to wait for: afterwards an answer at once is worth more.
    await inTime(clock, connection.triedOnce, dueMonotonicMs).catch(() => undefined)
    const late = connection.client()
    if (late === undefined) throw refusedFault('no connection to Redis')
    return late
  }

  async function send(call: Call, asking: boolean, course: Course): Promise<Reply | Redirect> {
    const { script, keys, argsUntil, dueMonotonicMs } = call
    const client = await clientBy(dueMonotonicMs)
    const untilMs = redisClock.atMonotonic(dueMonotonicMs - DRIFT_MARGIN_MS)
    if (untilMs === undefined) throw refusedFault('the time of Redis is not known')
    const args = argsUntil(untilMs)
    const sentMs = clock.monotonicMs()
    const { forgottenAt } = course
    // Of all that find it forgotten at once the first brings the text, and the others come behind that. Only where
    // Redis is told to forget it once more in between does another have to bring it.
    const isBringing =
      forgottenAt !== undefined &&
      (course.wasForgottenAgain || !texts.wasSentSince(script, forgottenAt))
    if (forgottenAt !== undefined && !isBringing && sentMs >= dueMonotonicMs) {
      // Sent now it would be late. Nothing has run, so there is nothing to give back either.
      course.isOverdue = true
      throw refusedFault('Redis had forgotten the script, and no time is left')
    }
    const number = texts.nextNumber()
    if (isBringing) texts.sent(script, number)
    const [command, which] = isBringing ? ['EVAL', script.text] : ['EVALSHA', script.digest]
    let reply: Reply
    try {
      // It holds for the one command that comes next on the connection.
      if (asking) client.call('ASKING').catch(() => undefined)
      const answer = client.call(command, which, keys.length, ...keys, ...args)
      const answered = silence.sent()
      answer.then(answered, answered)
      // Whatever made it forget this one had it forget the others.
      if (isBringing) load(client)
      reply = (await inTime(clock, answer, dueMonotonicMs)) as Reply
    } catch (error) {
      if (error instanceof UnansweredError) {
        course.isOverdue = true
        throw error
      }
      const code = errorCode(error)
      // Redis keeps scripts until it restarts, fails over, or is told to forget them. Nothing has run.
      if (code === 'NOSCRIPT' && !isBringing) {
        course.wasForgottenAgain = forgottenAt !== undefined
        course.forgottenAt = number
        return send(call, asking, course)
      }
      const redirect = redirects && code !== undefined ? redirectFrom(code, error) : undefined
      if (redirect !== undefined) return redirect
      // Another server has become the master, or will.
      if (code === 'READONLY') renew()
      if (code !== undefined && isOfScript(code, error)) {
        throw new ScriptError(describeReply(code, error))
      }
      if (code === 'OOM') throw new OutOfMemoryError(describeReply(code, error))
      if (code !== undefined) throw refusedFault(describeReply(code, error))
      throw new UnansweredError('the connection to Redis was lost before the answer')
    }
    redisClock.learn(reply[1], sentMs, clock.monotonicMs())
    return reply
  }

  async function attempt(call: Call, asking: boolean, admitted: Admitted) {
    const course: Course = { forgottenAt: undefined, wasForgottenAgain: false, isOverdue: false }
    try {
      let reply = await send(call, asking, course)
      // Redis's clock was set forward: its moment is known now.
      if (isLate(reply)) reply = await send(call, asking, course)
      if (isLate(reply)) {
        course.isOverdue = true
        throw refusedFault('Redis came to it too late')
      }
      admitted.succeeded()
      probes.answered()
      return reply
    } catch (error) {
      // It ran and was answered: one key that it cannot read says nothing of the others.
      if (error instanceof ScriptError) {
        admitted.succeeded()
        probes.answered()
        throw error
      }
      probes.failed(call)
      // It is there, and has answered: to bring the script took the time that the call had.
      if (course.forgottenAt !== undefined && course.isOverdue) {
        admitted.undecided()
        throw error
      }
      admitted.failed()
      // A half-open connection never says so, and another may lead to a server that takes writes.
      if (breaker.isOpen()) renew()
      throw error
    }
  }

  return {
    async run(call, asking) {
      const admitted = breaker.admit()
      if (admitted !== undefined) return attempt(call, asking, admitted)
      probes.failed(call)
      throw refusedFault('Redis is not asked: it did not answer')
    },
    probe() {
      if (!breaker.isOpen()) return
      const next = probes.next()
      if (next === undefined) return
      const admitted = breaker.admit()
      if (admitted === undefined) return
      const { call, probe } = next
      const dueMonotonicMs = clock.monotonicMs() + probe.timeoutMs
      const again = { ...call, argsUntil: probe.argsUntil, dueMonotonicMs }
      attempt(again, false, admitted).catch(() => undefined)
    },
    nowMs: () => redisNowMs(redisClock, clock),
    silentMs: () => silence.ms(),
    close() {
      connection.close()
    },
  }
}

function isLate(reply: Reply | Redirect): boolean {
  return !('kind' in reply) && reply[0] === 'late'
}

/** Waits for an answer until it is due, and no longer. */
export async function inTime<T>(
  clock: Pick<Clock, 'monotonicMs'>,
  promise: Promise<T>,
  dueMonotonicMs: number,
): Promise<T> {
  return new Promise((resolve, reject) => {
    let timer: NodeJS.Timeout | undefined
    const giveUpWhenDue = (): void => {
      const leftMs = dueMonotonicMs - clock.monotonicMs()
      // A timer can fire early, and no call may be given up before its deadline in Redis has passed.
      if (leftMs > 0) timer = setTimeout(giveUpWhenDue, Math.ceil(leftMs))
      // Where the event loop was held up, the answer may lie there already: it is read before this runs.
      else setImmediate(reject, new UnansweredError('Redis did not answer in time'))
    }
    giveUpWhenDue()
    promise.then(resolve, reject).finally(() => {
      clearTimeout(timer)
    })
  })
}
