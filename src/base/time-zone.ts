/** Clocks on walls: when it was, when a clock in some place showed a time. */

const dayMs = 86_400_000;

/** The instant at which a clock showed `wallMs`, the milliseconds that it would be were the clock that of UTC. */
export type WallClock = (wallMs: number) => number;

/**
 * The clocks of a place by its name in the database of time zones, `Europe/Berlin`; undefined when there is none. Of a
 * time that came twice, when clocks were put back, the first is meant; one that never was, when they were put forward,
 * is as long after the change as it says.
 */
export function wallClockOf(zone: string): WallClock | undefined {
  const offsetAt = offsetsOf(zone);
  if (offsetAt === undefined) return undefined;
  return (wallMs) => {
    const [before, after] = [offsetAt(wallMs - dayMs), offsetAt(wallMs + dayMs)];
    const [first, second] = [wallMs - before, wallMs - after];
    if (before === after || offsetAt(first) === before) return first;
    return offsetAt(second) === after ? second : first;
  };
}

/** How far the clocks of a place were ahead of UTC at an instant. */
function offsetsOf(zone: string): ((ms: number) => number) | undefined {
  let format: Intl.DateTimeFormat;
  try {
    format = new Intl.DateTimeFormat('en-US', {
      timeZone: zone,
      calendar: 'iso8601',
      numberingSystem: 'latn',
      hourCycle: 'h23',
      ...{ year: 'numeric', month: 'numeric', day: 'numeric' },
      ...{ hour: 'numeric', minute: 'numeric', second: 'numeric' },
    });
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
  return (ms) => {
    const whole = Math.floor(ms / 1_000) * 1_000;
    const parts = new Map(format.formatToParts(whole).map(({ type, value }) => [type, Number(value)]));
    const part = (name: Intl.DateTimeFormatPartTypes) => parts.get(name) ?? 0;
    const shown = new Date(0);
    // Not Date.UTC, for which the years before 100 are those of the last century.
    shown.setUTCFullYear(part('year'), part('month') - 1, part('day'));
    shown.setUTCHours(part('hour'), part('minute'), part('second'));
    return shown.getTime() - whole;
  };
}
