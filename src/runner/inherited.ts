/** What whoever started this process has left open in it. */
import { closeSync, readdirSync, readFileSync } from 'node:fs';

/** Open files that exec passes on; O_CLOEXEC as /proc/<pid>/fdinfo shows it, in octal. */
const closedOnExec = 0o2000000;

/**
 * Closes what is open beyond the standard streams and would be passed on to each program that is started: all that we
 * open ourselves is not, so it is a shell's or a service manager's. Returns how many there were.
 */
export function closeInherited(): number {
  let closed = 0;
  for (const name of readdirSync('/proc/self/fdinfo')) {
    const fd = Number(name);
    if (fd <= 2 || isClosedOnExec(fd)) continue;
    closeSync(fd);
    closed += 1;
  }
  return closed;
}

function isClosedOnExec(fd: number): boolean {
  try {
    const flags = /^flags:\s*([0-7]+)/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))?.[1] ?? '0';
    return (Number.parseInt(flags, 8) & closedOnExec) !== 0;
  } catch {
    // It was the listing's own, and is closed already.
    return true;
  }
}
