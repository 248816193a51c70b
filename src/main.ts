import { randomBytes } from 'node:crypto'
import { getHeapStatistics } from 'node:v8'
import type { Admission } from './admission.js'
import { createEarlyReports } from './early-reports.js'
import { createLateReports } from './late-reports.js'
import { isShared } from './meter.js'
import { listenForAdmin, listenForProbes } from './admin/listeners.js'
import { openAuditLog } from './audit/file-log.js'
import type { AuditLog } from './audit/record.js'
import type { PolicySnapshot } from './authorize.js'
import { systemClock } from './clock.js'
import { formatAddress } from './config/address.js'
import { checkFiles } from './config/check-files.js'
import { loadConfigInWorker } from './config/load-in-worker.js'
import { systemTimers } from './config/follow.js'
import { readConfig } from './config/load.js'
import type { Config } from './config/load.js'
import { watchConfig } from './config/watch.js'
import { drain } from './drain.js'
import { longLivedHeapBytes, nodeOptions } from './heap.js'
import { formatFault } from './errors.js'
import { createIdentity } from './identity/authenticate.js'
import type { Identity } from './identity/authenticate.js'
import type { TlsLook } from './grpc-tls.js'
import { listen } from './listen.js'
import type { ListenOptions } from './listen.js'
import { encodingNames } from './llm/encodings.js'
import { createGenerationRates } from './llm/generation-rate.js'
import { partOptions } from './part-options.js'
import type { PartOptions } from './part-options.js'
import { createPromptReader } from './prompt/reader.js'
import { createLedger } from './quota/ledgers.js'
import { startRateLimits } from './rate-limits.js'
import type { RunningRateLimits } from './rate-limits.js'
import { createServices } from './server.js'
import { createLog } from './telemetry/log.js'
import type { Log } from './telemetry/log.js'
import { createMetrics } from './telemetry/metrics.js'
import { createRecorder } from './telemetry/record.js'
import { openStandardOutput } from './telemetry/standard-output.js'
import { SECOND_MS } from './units.js'
import { createUpkeep } from './upkeep.js'

/** Policies are read in a thread of their own: a large one would hold the event loop up. */
const loadWorkerFile = new URL('./config/load-worker.js', import.meta.url)

/** A capability or a record's name: 128 random bits, base64url. */
function randomId(): string {
  return randomBytes(16).toString('base64url')
}

/**
 * Runs Tollgate until SIGTERM or SIGINT: reads the policy, builds the parts, listens, drains.
 *
 * @returns the exit code
 * @throws ConfigError the policy file, or a file that it names, cannot be used
 */
export async function serve(policyFile: string): Promise<number> {
  const closers: Closer[] = []
  try {
    await run(policyFile, (close) => closers.push(close))
    return 0
  } finally {
    // In reverse, whether it ran to its end or could not start: a thread or a port left open would keep the process.
    for (const close of closers.reverse()) await close()
  }
}

/** Frees one part; must not throw. */
type Closer = () => Promise<void> | void

async function run(policyFile: string, atEnd: (close: Closer) => void): Promise<void> {
  // Before anything else: by default these signals end the process, and with it what it has begun to answer.
  const terminating = terminated()
  let reload = (): void => undefined
  process.on('SIGHUP', () => {
    reload()
  })

  const config = readConfig(policyFile, checkFiles)
  const { settings } = config
  const options = partOptions(settings)
  const metrics = createMetrics()
  const output = openStandardOutput(() => {
    metrics.countDroppedLogLine()
  })
  // The last part that is freed: the others log until then.
  atEnd(() => output.end())
  const log = createLog({ level: settings.log.level, destination: output })
  metrics.setLedger(settings.ledger.kind)
  let hasStopped = false
  // Behind the last checkpoint of the audit record.
  atEnd(() => {
    if (hasStopped) log.info('stopped')
  })
  const audit = await openAudit(options.audit, log)
  atEnd(() => closeAudit(audit, log))
  const recorder = createRecorder({
    log,
    metrics,
    audit,
    auditRequired: options.auditRequired,
    clock: systemClock,
  })

  const heapBytes = longLivedHeapBytes(nodeOptions(), getHeapStatistics().heap_size_limit)
  const ledger = createLedger<Admission>(settings.ledger, {
    clock: systemClock,
    random: Math.random,
    processId: randomId(),
    heapBytes,
    onUnavailable: (reason) => {
      log.warn(
        { reason },
        'the ledger is unavailable: until it answers, quotas go by onStoreFailure',
      )
    },
    onAvailable: () => {
      log.info('the ledger is available again')
    },
  })
  atEnd(() => ledger.close())
  const rates = createGenerationRates()
  const prompts = createPromptReader({
    workerFile: new URL('./prompt/worker.js', import.meta.url),
    ...options.prompts,
    // All of them: a reload may name a model with another one, and loading takes too long to do while serving.
    encodings: encodingNames,
    clock: systemClock,
  })

  atEnd(() => prompts.close())
  await prompts.ready()

  // Not before: loading the encodings holds the event loop, and a key fetch beside it would run out of its time.
  const identity = createIdentity({
    clock: systemClock,
    random: Math.random,
    onEvent: (event) => {
      metrics.countKeySetEvent(event.kind)
      const { kind, ...about } = event
      const level = kind === 'failed' || kind === 'stale' ? 'warn' : 'info'
      log[level]({ event: kind, ...about }, 'key set')
    },
  })
  atEnd(() => {
    identity.close()
  })
  let snapshot = snapshotOf(config, identity)
  metrics.setPolicy(snapshot.policy.generation, snapshot.policy.quotas)
  void snapshot.authenticator.prefetch()

  let rateLimits: RunningRateLimits | undefined
  if (settings.rateLimitService !== undefined) {
    const parts = { clock: systemClock, random: Math.random, heapBytes, log, metrics }
    rateLimits = startRateLimits(settings.rateLimitService, parts)
    atEnd(rateLimits.close)
  }

  const lateReports = createLateReports()
  const meterParts = { ledger, rates, clock: systemClock }
  const earlyReports = isShared(meterParts)
    ? createEarlyReports({
        ...meterParts,
        after: (delayMs, run) => systemTimers.after(delayMs, run),
        async onEnded(reservation) {
          recorder.report(reservation)
          if (reservation !== undefined) await recorder.ended(reservation)
        },
        onFailure: (error) => {
          recorder.failure('report', error)
        },
        lateReports,
      })
    : undefined
  atEnd(() => earlyReports?.close())
  const services = createServices({
    snapshot: () => snapshot,
    prompts,
    ledger,
    rates,
    clock: systemClock,
    randomId,
    recorder,
    lateReports,
    earlyReports,
    rateLimits: rateLimits?.service,
  })
  let draining = false
  const ready = (): boolean => !draining && snapshot.authenticator.ready()
  const probes = await at(
    'listen.metrics',
    listenForProbes(settings.listen.metrics, { metrics, ready }),
  )
  atEnd(() => probes.stop())
  const usage = { policy: () => snapshot.policy, ledger, clock: systemClock }
  const rateLimitsServe = (): boolean => !draining && rateLimits?.isAvailable() === true
  const pages = rateLimits && {
    service: rateLimits.service,
    config: rateLimits.config,
    isServing: rateLimitsServe,
    onFailure: (error: unknown) => {
      recorder.failure('rate_limit', error)
    },
  }
  const admin = await at('listen.admin', listenForAdmin(settings.listen.admin, usage, pages))
  atEnd(() => admin.stop())
  const addServices: ListenOptions['addServices'] = (server, allowedSans) => {
    services.addTo(server, allowedSans)
  }
  const listener = await at('listen.grpc', listen({ ...options.grpc, addServices }))
  atEnd(() => listener.stop(0))

  const upkeep = createUpkeep()
  const everySecond = setInterval(() => {
    metrics.setLogWaiting(output.waitingBytes())
    if (rateLimits !== undefined) {
      rateLimits.askLost()
      listener.setRateLimitServing(rateLimitsServe())
    }
    tellOfTls(listener.lookAtTls(), log)
    void upkeep.round({
      ledger,
      rates,
      clock: systemClock,
      metrics,
      recorder,
      lateReports,
      earlyReports,
      ready,
      setServing: (serving) => {
        listener.setServing(serving)
      },
    })
  }, SECOND_MS)
  atEnd(async () => {
    clearInterval(everySecond)
    await upkeep.over(systemTimers)
  })

  const watcher = watchConfig(policyFile, {
    running: config,
    load: (file, text) => loadConfigInWorker(file, text, { workerFile: loadWorkerFile }),
    onConfig: (next, needRestart) => {
      snapshot = snapshotOf(next, identity)
      void snapshot.authenticator.prefetch()
      metrics.setPolicy(snapshot.policy.generation, snapshot.policy.quotas)
      metrics.countPolicyLoad('loaded')
      const level = needRestart.length === 0 ? 'info' : 'warn'
      log[level]({ generation: snapshot.policy.generation, needRestart }, 'policy loaded')
      void recorder.lifecycle('policy_loaded', snapshot.policy.generation)
    },
    onUnchanged: () => {
      log.info({ generation: snapshot.policy.generation }, 'policy unchanged')
    },
    onFault: (error) => {
      metrics.countPolicyLoad('refused')
      for (const fault of error.faults)
        log.error({ fault: formatFault(fault) }, 'policy refused, the last good one stays')
      void recorder.lifecycle('policy_refused', snapshot.policy.generation)
    },
  })
  atEnd(() => {
    watcher.close()
  })
  reload = () => {
    watcher.reload()
    rateLimits?.reload()
  }

  await recorder.lifecycle('start', snapshot.policy.generation)
  log.info(
    {
      grpc: formatAddress(listener.address),
      metrics: probes.address,
      admin: admin.address,
      generation: snapshot.policy.generation,
      ledger: settings.ledger.kind,
    },
    'tollgate is listening',
  )
  if (settings.ledger.kind === 'memory') {
    log.warn(
      'the ledger is in memory: limits hold per process, and a restart forgets what was spent',
    )
  }

  const signal = await terminating
  draining = true
  listener.setServing(false)
  if (rateLimits !== undefined) listener.setRateLimitServing(false)
  const left = () => {
    const { reservations, toGiveBack = 0 } = ledger.size()
    return {
      callsUnderWay: services.underWay(),
      openReservations: reservations,
      // Nobody else has these, nor what is still to be given back.
      lateReports: lateReports.count() + (earlyReports?.count() ?? 0),
      toGiveBack,
    }
  }
  log.info({ signal, ...left() }, 'draining')
  const isDrained = await drain(settings.drain, {
    clock: systemClock,
    pause,
    isDone: () => Object.values(left()).every((count) => count === 0),
  })
  if (!isDrained) log.warn(left(), 'the drain deadline is over: these are waited for no longer')

  await listener.stop(SECOND_MS)
  await recorder.lifecycle('stop', snapshot.policy.generation)
  hasStopped = true
}

/** Says which key of the policy an address is from that cannot be had. */
async function at<Listening>(key: string, listening: Promise<Listening>): Promise<Listening> {
  try {
    return await listening
  } catch (error) {
    const why = error instanceof Error ? error.message : 'unknown failure'
    throw new Error(`${key}: ${why}`, { cause: error })
  }
}

function snapshotOf(config: Config, identity: Identity): PolicySnapshot {
  const { policy } = config
  return { policy, authenticator: identity.use(policy.issuers, policy.apiKeys) }
}

async function openAudit(audit: PartOptions['audit'], log: Log): Promise<AuditLog | undefined> {
  if (audit === undefined) {
    log.warn('no audit file in the policy: decisions are logged, but nothing can be verified later')
    return undefined
  }
  return openAuditLog({
    ...audit,
    clock: systemClock,
    onCheckpoint: (line) => {
      log.line(line)
    },
  })
}

async function closeAudit(audit: AuditLog | undefined, log: Log): Promise<void> {
  try {
    await audit?.close()
  } catch (error) {
    // A disk that hangs must not keep the process from ending; the next start finds what was written.
    log.error({ error }, 'audit log not closed')
  }
}

function tellOfTls(look: TlsLook, log: Log): void {
  if (look.kind === 'renewed') log.info('the certificates of listen.tls are renewed')
  if (look.kind === 'refused') {
    log.warn(
      { reason: look.reason },
      'the files of listen.tls cannot be used: what they were before stays',
    )
  }
}

function terminated(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      // Stays in place: a second signal during the drain must not end the process.
      process.on(signal, () => {
        resolve(signal)
      })
    }
  })
}

function pause(durationMs: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, durationMs))
}
