import { EventEmitter } from 'node:events'
import { status } from '@grpc/grpc-js'
import type { Server } from '@grpc/grpc-js'
import { afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import type { Admission } from '../src/admission.js'
import { systemClock } from '../src/clock.js'
import type { Decision } from '../src/decision.js'
import type { CheckResponse } from '../src/envoy/wire.js'
import { createLateReports } from '../src/late-reports.js'
import { createGenerationRates } from '../src/llm/generation-rate.js'
import type { EndedReservation } from '../src/meter.js'
import { createInlineReader } from '../src/prompt/inline.js'
import type { PromptReader } from '../src/prompt/prompt.js'
import { createMemoryLedger } from '../src/quota/memory/memory-ledger.js'
import { createServices } from '../src/server.js'
import type { Recorder } from '../src/telemetry/record.js'
import { asAlice, examplePolicy } from './example-policy.js'

// What a real transport does at a moment of its own choosing, a transport of the test does when it is told.

let prompts: PromptReader
beforeAll(() => {
  prompts = createInlineReader({
    encodings: ['cl100k_base'],
    timeoutMs: 60_000,
    clock: systemClock,
  })
})

afterEach(() => {
  vi.useRealTimers()
})

interface Answer {
  readonly error: { readonly code: status } | null
  readonly response?: CheckResponse
}

interface Rig {
  /** Calls a method as grpc-js would; `cut` is what it emits when the call is over. */
  call(name: string, request: unknown, deadlineEpochMs?: number): Call
  /** Encodes an answer, as the transport does when it sends it. */
  encode(response: CheckResponse): void
  readonly ended: EndedReservation[]
  readonly reports: (EndedReservation | undefined)[]
  readonly openReservations: () => number
}

interface Call {
  readonly answer: Promise<Answer>
  cut(): void
}

type Handler = (call: unknown, callback: (error: never, response: never) => void) => void

function rig(recorder: Partial<Recorder> = {}): Rig {
  const ledger = createMemoryLedger<Admission>()
  const ended: EndedReservation[] = []
  const reports: (EndedReservation | undefined)[] = []
  let ids = 0
  const services = createServices({
    snapshot: () => ({
      policy: examplePolicy(),
      authenticator: asAlice,
    }),
    prompts,
    ledger,
    rates: createGenerationRates(),
    clock: systemClock,
    randomId: () => `id-${String((ids += 1))}`,
    lateReports: createLateReports(),
    recorder: {
      decision: async () => undefined,
      ended: async (reservation) => {
        ended.push(reservation)
      },
      report: (reservation) => {
        reports.push(reservation)
      },
      lifecycle: async () => undefined,
      failure: () => undefined,
      upkeep: () => undefined,
      ...recorder,
    },
  })
  const handlers = new Map<string, Handler>()
  let encode: (response: CheckResponse) => unknown = () => undefined
  // The test is the transport, so that it decides what is delivered.
  const server = {
    addService(
      definition: Record<string, { responseSerialize: typeof encode }>,
      implementation: Record<string, Handler>,
    ) {
      for (const [name, handler] of Object.entries(implementation)) handlers.set(name, handler)
      if (definition['Check'] !== undefined) encode = definition['Check'].responseSerialize
    },
  }
  // No more of a server than `addTo` uses.
  services.addTo(server as unknown as Server, undefined)
  return {
    call(name, request, deadlineEpochMs = Infinity) {
      const call = Object.assign(new EventEmitter(), {
        request,
        getDeadline: () => deadlineEpochMs,
      })
      return {
        answer: new Promise((resolve) => {
          handlers.get(name)?.(call, (error, response) => {
            resolve({ error, response })
          })
        }),
        cut: () => {
          call.emit('cancelled', 'cancelled')
        },
      }
    },
    encode: (response) => {
      encode(response)
    },
    ended,
    reports,
    openReservations: () => ledger.size().reservations,
  }
}

const checkRequest = {
  attributes: {
    request: {
      time: { seconds: 1, nanos: 1 },
      http: {
        id: '17',
        method: 'POST',
        path: '/v1/chat/completions',
        rawBody: Buffer.from(
          JSON.stringify({
            model: 'llama-70b',
            max_tokens: 100,
            messages: [{ role: 'user', content: 'Good morning.' }],
          }),
        ),
        headers: { authorization: 'Bearer good', 'content-type': 'application/json' },
      },
    },
  },
}

function reportOf(reservation: string): unknown {
  const entries = [
    { key: 'reservation', value: reservation },
    { key: 'report', value: 'input' },
  ]
  return { domain: 'tollgate', descriptors: [{ entries, hitsAddend: { value: 12 } }] }
}

describe('an allow', () => {
  test('that was cut before it was encoded gives back what it held', async () => {
    const it = rig()
    const call = it.call('Check', checkRequest)
    expect((await call.answer).response).toHaveProperty('okResponse')
    expect(it.openReservations()).toBe(1)
    call.cut()
    await vi.waitUntil(() => it.ended.length > 0)
    expect(it.ended.map(({ ended }) => ended.outcome)).toEqual(['released'])
    expect(it.openReservations()).toBe(0)
  })

  test('that was encoded keeps it, whatever becomes of the call', async () => {
    const it = rig()
    const call = it.call('Check', checkRequest)
    const { response } = await call.answer
    if (response === undefined) throw new Error('no answer')
    it.encode(response)
    call.cut()
    await new Promise((resolve) => setImmediate(resolve))
    expect(it.ended).toEqual([])
    expect(it.openReservations()).toBe(1)
  })
})

test('a call is given up 20 ms before its deadline: later, the answer would be lost on its way', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'] })
  const signals: AbortSignal[] = []
  const it = rig({
    decision: ({ request: { signal } }: Decision) => {
      signals.push(signal)
      return new Promise((resolve) => {
        signal.addEventListener('abort', () => {
          resolve()
        })
      })
    },
  })
  const { answer } = it.call('Check', checkRequest, Date.now() + 1000)
  while (signals.length === 0) await new Promise((resolve) => setImmediate(resolve))
  vi.advanceTimersByTime(979)
  expect(signals[0]?.aborted).toBe(false)
  vi.advanceTimersByTime(1)
  expect((await answer).error?.code).toBe(status.CANCELLED)
  expect(it.ended.map(({ ended }) => ended.outcome)).toEqual(['released'])
})

test('a report is counted, whether it ended a reservation or not', async () => {
  const it = rig()
  await it.call('Check', checkRequest).answer
  await it.call('ShouldRateLimit', reportOf('id-2')).answer
  await it.call('ShouldRateLimit', reportOf('id-2')).answer
  expect(it.reports.map((reservation) => reservation?.ended.outcome)).toEqual([
    'estimated',
    undefined,
  ])
})
