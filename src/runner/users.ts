/** Users of this machine, as /etc/passwd has them. */
import { readFileSync } from 'node:fs';
import { AppError } from '../domain/error.ts';
import { ownUsers } from '../domain/members.ts';

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

/**
 * A user that foreign code may run as. `unprocessable` for one that is not there, and for another name of a user whose
 * rights nothing foreign has: rights go by the number, and of names there may be several.
 */
export function requireForeignUser(user: string, name: string, file?: string): User {
  const found = findUser(user, file);
  if (found === undefined) throw userRefusal(user, name, '/etc/passwd has no such user');
  const same = ownUsers.find((own) => findUser(own, file)?.uid === found.uid);
  const own = found.uid === 0 ? 'root' : same;
  if (own !== undefined)
    throw userRefusal(user, name, `that is another name of ${own}, and nothing foreign runs as ${own}`);
  return found;
}

/** Why `name` cannot be started as `user`. */
export function userRefusal(user: string, name: string, why: string): AppError {
  return new AppError('unprocessable', `Cannot start ${name} as user "${user}": ${why}`);
}
