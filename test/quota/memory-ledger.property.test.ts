import { createMemoryLedger } from '../../src/quota/memory/memory-ledger.js'
import { createSetBackTime, describeAgreement, rememberEndedMs } from './ledger.property.js'

describeAgreement('the memory ledger', () => createMemoryLedger({ rememberEndedMs }), 80)

describeAgreement(
  'the memory ledger, its clock being set back,',
  ({ monotonicMs }) => createMemoryLedger({ rememberEndedMs, monotonicMs }),
  80,
  () => [],
  true,
  createSetBackTime,
)
