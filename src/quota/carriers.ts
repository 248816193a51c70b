/**
 * The calls whose answers carry a reservation, by their ids: it is given back when the last of them is known to have
 * reached nobody. Not a number, since the same may be said of one answer twice. Undefined: they were too many to be
 * remembered, and the report or the lease alone ends it.
 */
export type Carriers = readonly string[] | undefined

/** As in `lua/common/reservations.lua`. A stream is asked for again once or twice. */
const MAX_CARRIERS = 16

export function withCarrier(carriers: Carriers, call: string): Carriers {
  if (carriers === undefined || carriers.includes(call)) return carriers
  return carriers.length < MAX_CARRIERS ? [...carriers, call] : undefined
}

export function withoutCarrier(carriers: Carriers, call: string): Carriers {
  return carriers?.filter((each) => each !== call)
}

/** Does no answer carry it any more? */
export function isCarriedByNone(carriers: Carriers): boolean {
  return carriers?.length === 0
}
