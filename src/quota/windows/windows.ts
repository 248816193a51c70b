import { createCalendarTimeline } from './calendar-timeline.js'
import type { Window } from '../quota.js'
import { createFixedTimeline } from './fixed-timeline.js'
import { createSlidingTimeline } from './sliding-timeline.js'
import { openTimeline } from './open-timeline.js'
import type { Timeline } from './timeline.js'

/**
 * Finds the timeline of a window. Equal windows, also of different policy generations, have the same one, so
 * that two timelines are equal exactly when they are identical.
 *
 * @throws RangeError the window's time zone is not known
 */
export function createTimelines(): (window: Window) => Timeline {
  const byWindow = new WeakMap<Window, Timeline>()
  // As many as the policy files have ever named different windows.
  const bySpelling = new Map<string, Timeline>()
  return (window) => {
    const known = byWindow.get(window)
    if (known !== undefined) return known
    const spelling = spell(window)
    const timeline = bySpelling.get(spelling) ?? createTimeline(window)
    bySpelling.set(spelling, timeline)
    byWindow.set(window, timeline)
    return timeline
  }
}

function createTimeline(window: Window): Timeline {
  switch (window.kind) {
    case 'sliding':
      return createSlidingTimeline(window.lengthMs)
    case 'calendar':
      return createCalendarTimeline(window.period, window.timeZone)
    case 'fixed':
      return createFixedTimeline(window.lengthMs)
    case 'open':
      return openTimeline
  }
}

/** Names a window: equal windows, also of different policy generations, have one spelling. */
export function spell(window: Window): string {
  switch (window.kind) {
    case 'sliding':
      return `sliding ${String(window.lengthMs)}`
    case 'calendar':
      return `calendar ${window.period} ${window.timeZone}`
    case 'fixed':
      // Scripts of a release without fixed windows take any other name for `open`, and would forget debts. This one
      // they take for a calendar: they ask for boundaries that their process does not know, and change nothing.
      return `calendar fixed ${String(window.lengthMs)}`
    case 'open':
      return 'open'
  }
}
