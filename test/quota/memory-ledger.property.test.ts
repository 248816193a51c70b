import { createMemoryLedger } from '../../src/quota/memory/memory-ledger.js'
import { describeAgreement, rememberEndedMs } from './ledger.property.js'

describeAgreement('the memory ledger', () => createMemoryLedger({ rememberEndedMs }), 80)
