import { createClaimsStore } from './claims-model.js'
import { describeClaims } from './claims.contract.js'

// By the model that the property of shares is tried with.
describeClaims('the model of a store', () => {
  const store = createClaimsStore()
  return {
    census: async (...args) => store.census(...args),
    lose: async () => {
      store.lose()
    },
  }
})
