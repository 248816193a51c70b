import type { AuditLogOptions } from './audit/file-log.js'
import type { ServerSettings } from './config/settings.js'
import type { ListenOptions } from './listen.js'
import { INLINE_BYTES } from './prompt/prompt.js'
import type { PromptReaderOptions } from './prompt/prompt.js'

/** What the parts are told of the policy file when they are built. */
export interface PartOptions {
  readonly prompts: Pick<
    PromptReaderOptions,
    'workers' | 'inlineBytes' | 'timeoutMs' | 'maxOpenBytes'
  >
  readonly grpc: Pick<ListenOptions, 'address' | 'tls' | 'maxBodyBytes' | 'maxConcurrentStreams'>
  /** Undefined: no record is kept. */
  readonly audit: Pick<AuditLogOptions, 'file' | 'keyFile' | 'writeTimeoutMs'> | undefined
  readonly auditRequired: boolean
}

/** The settings, in the words of the parts. */
export function partOptions({ limits, listen, audit }: ServerSettings): PartOptions {
  return {
    prompts: {
      workers: limits.examinationWorkers,
      inlineBytes: INLINE_BYTES,
      timeoutMs: limits.examinationTimeoutMs,
      maxOpenBytes: limits.maxExaminationBytes,
    },
    grpc: {
      address: listen.grpc,
      tls: listen.tls,
      maxBodyBytes: limits.maxBodyBytes,
      maxConcurrentStreams: limits.maxConcurrentChecks,
    },
    audit: audit && {
      file: audit.file,
      keyFile: audit.keyFile,
      writeTimeoutMs: audit.writeTimeoutMs,
    },
    auditRequired: audit?.required ?? false,
  }
}
