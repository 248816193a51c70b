import { pino } from 'pino'
import type { DestinationStream } from 'pino'
import { toLoggableFields } from './loggable.js'
import type { LoggableFields } from './loggable.js'

export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal'

/** One JSON line each. Fields pass through `toLoggableFields`; the message is a fixed text of the program. */
export interface LogLine {
  (message: string): void
  (fields: object, message: string): void
}

/** The operator's log: standard output, one JSON object a line. Names no caller (invariant 6). */
export interface Log {
  readonly debug: LogLine
  readonly info: LogLine
  readonly warn: LogLine
  readonly error: LogLine
  /** A line that is JSON already, as a checkpoint of the audit log: between the others, never within one. */
  readonly line: (line: string) => void
}

export interface LogOptions {
  readonly level: LogLevel
  /** Must not wait, and must not throw. */
  readonly destination: DestinationStream
}

export function createLog(options: LogOptions): Log {
  const { destination } = options
  const logger = pino(
    {
      level: options.level,
      // Times as in the audit records, names instead of numbers, and neither process id nor host name.
      timestamp: pino.stdTimeFunctions.isoTime,
      base: null,
      formatters: { level: (label) => ({ level: label }) },
      depthLimit: 10,
    },
    destination,
  )

  const at =
    (level: LogLevel): LogLine =>
    (first: string | object, message?: string): void => {
      if (!logger.isLevelEnabled(level)) return
      if (typeof first === 'string') logger[level](first)
      else logger[level](fieldsOf(first), message)
    }

  return {
    debug: at('debug'),
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
    line: (line) => {
      destination.write(`${line}\n`)
    },
  }
}

/** An error is a field of its own, whether it is given as one or alone. */
function fieldsOf(value: object): LoggableFields {
  return toLoggableFields(value instanceof Error ? { error: value } : value)
}
