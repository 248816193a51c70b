import type { Admission } from '../src/admission.js'

/** Of an ordinary chat of alice's, not streamed, that reserved 100 tokens of input and 500 of output. */
export function exampleAdmission(changes: Partial<Admission> = {}): Admission {
  return {
    auditId: 'audit-1',
    tenant: 'acme',
    subject: 'alice',
    client: null,
    model: 'llama',
    dialect: 'openai',
    stream: false,
    stopsOnDisconnect: false,
    choices: 1,
    candidatesPerChoice: 1,
    runningUsage: false,
    withholdsTokens: false,
    failsLate: false,
    teachesRates: true,
    inputTokens: 100,
    outputTokens: 500,
    ...changes,
  }
}
