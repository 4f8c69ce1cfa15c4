/** argv → command; the only place that ends the process. */
import { run } from './cli/version.ts';

process.exitCode = run(process.argv.slice(2));
