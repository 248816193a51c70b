// Forked by `beside-peer.ts`: a ledger (memory, redis or sliced) behind the gRPC service that its peer speaks, and nothing else. A call
// with `end` as the first key ends a reservation, every other reserves.
import { Server, ServerCredentials } from '@grpc/grpc-js'
import type { sendUnaryData, ServerUnaryCall } from '@grpc/grpc-js'
import { systemClock } from '../src/clock.js'
import { rateLimitService } from '../src/envoy/protos.js'
import { toRateLimitResponse } from '../src/envoy/rate-limit-response.js'
import type { RateLimitRequest, RateLimitResponse } from '../src/envoy/wire.js'
import type { Ledger } from '../src/quota/ledger.js'
import { createMemoryLedger } from '../src/quota/memory/memory-ledger.js'
import { createRedisLedger } from '../src/quota/redis/redis-ledger.js'
import { createSlicedLedger } from '../src/quota/slices/sliced-ledger.js'
import { openStore } from '../src/store/store.js'
import { end, quotas, requestOf } from './bench-requests.js'
import type { context } from './bench-requests.js'

const [kind = '', url = '', socket = ''] = process.argv.slice(2)
const address = { url, caFile: undefined, user: undefined, passwordFile: undefined }
const store = openStore(address, { clock: systemClock, random: Math.random })
const parts = { store, clock: systemClock, timeoutMs: 5000 }
const redis = createRedisLedger<typeof context>(parts)
const ledger: Ledger<typeof context> =
  kind === 'memory'
    ? createMemoryLedger()
    : kind === 'sliced'
      ? createSlicedLedger({ ...parts, ledger: redis, random: Math.random })
      : redis
const asked = kind === 'sliced' ? quotas.map((quota) => ({ ...quota, slices: true })) : quotas

async function answer(request: RateLimitRequest): Promise<RateLimitResponse> {
  const [first] = request.descriptors ?? []
  const [about, caller] = first?.entries ?? []
  const id = about?.value ?? ''
  if (about?.key === 'end') {
    await ledger.find(id, Date.now())
    await ledger.end(id, end, Date.now())
    return toRateLimitResponse(request)
  }
  const wanted = requestOf(id, caller?.value ?? '', asked)
  await ledger.exhausted(wanted, Date.now())
  const answered = await ledger.reserve(wanted, Date.now())
  const code = answered.kind === 'held' ? 'OK' : 'OVER_LIMIT'
  return { overallCode: code, statuses: toRateLimitResponse(request).statuses }
}

const server = new Server({ 'grpc.enable_channelz': 0 })
server.addService(
  { ShouldRateLimit: rateLimitService.ShouldRateLimit },
  {
    ShouldRateLimit: (
      { request }: ServerUnaryCall<RateLimitRequest, RateLimitResponse>,
      callback: sendUnaryData<RateLimitResponse>,
    ) => {
      answer(request).then(
        (response) => {
          callback(null, response)
        },
        (error: unknown) => {
          callback(error as Error)
        },
      )
    },
  },
)
await ledger.balances([], Date.now())
server.bindAsync(`unix:${socket}`, ServerCredentials.createInsecure(), (error) => {
  if (error !== null) throw error
  process.send?.('listening')
})
process.on('disconnect', () => process.exit(0))
