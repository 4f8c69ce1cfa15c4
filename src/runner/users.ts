/** Users of this machine, as /etc/passwd has them. */
import { readFileSync } from 'node:fs';

export interface User {
  readonly uid: number;
  readonly gid: number;
}

/** Undefined when /etc/passwd has no such user. */
export function findUser(name: string, file = '/etc/passwd'): User | undefined {
  for (const line of readFileSync(file, 'utf8').split('\n')) {
    const [found, , uid, gid] = line.split(':');
    if (found === name && /^\d+$/.test(uid ?? '') && /^\d+$/.test(gid ?? ''))
      return { uid: Number(uid), gid: Number(gid) };
  }
  return undefined;
}
