/** The system tests change users, units and packages of this host: they fail, never skip, where they cannot. */
import { readFileSync } from 'node:fs';

const uid = process.getuid?.();
let release = '';
try {
  release = readFileSync('/etc/os-release', 'utf8');
} catch {
  release = 'no /etc/os-release';
}
const problem =
  uid !== 0
    ? `this is uid ${uid}, expected root`
    : /^ID(_LIKE)?=.*debian/m.test(release)
      ? undefined
      : 'this is not Debian or a descendant of it, expected one (in a container or VM that may be changed)';
if (problem !== undefined) {
  process.stderr.write(`Cannot run the system tests: ${problem}\n`);
  process.exit(1);
}
