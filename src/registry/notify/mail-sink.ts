/**
 * A sink that is told by mail. The connection is made here, to a checked address, and given to nodemailer, which speaks
 * SMTP on it. Its headers are the program's own words: what comes from events is one printable line.
 */
import type { Socket } from 'node:net';
import { hostname } from 'node:os';
import { createTransport } from 'nodemailer';
import { dialChecked } from '../../client/egress.ts';
import { LinkError } from '../../client/link.ts';
import { AppError, type ErrorCode } from '../../domain/error.ts';
import { messageLines, type NotifyMessage } from '../../domain/notify-batch.ts';
import { oneLine } from '../../domain/notify-words.ts';
import type { MailSpec } from '../../domain/sinks.ts';
import { readTrust } from './http-sinks.ts';
import { readSecret, type Sender, type SenderSurroundings, shownText } from './sender.ts';

const subjectMax = 150;

export function createMail(spec: MailSpec, { clock }: SenderSurroundings): Sender {
  const { host, port, security, login, passwordFile, caFile, timeoutMs } = spec;
  const label = `the mail server ${host}:${port}`;
  return {
    async deliver(message, { signal }) {
      const password = passwordFile === null ? null : await readSecret(passwordFile);
      const trust = caFile === null ? undefined : await readTrust(caFile);
      const late = new AbortController();
      const cancel = clock.after(timeoutMs, () =>
        late.abort(
          new LinkError('timed-out', `${label} has not taken the mail within ${timeoutMs / 1_000} s`),
        ),
      );
      const ended = AbortSignal.any([late.signal, signal]);
      let socket: Socket | undefined;
      const cut = () => socket?.destroy();
      try {
        socket = await dialChecked({ host, port, label }, { clock, timeoutMs, signal: ended });
        ended.addEventListener('abort', cut, { once: true });
        const transport = createTransport({
          connection: socket,
          ...{ host, port },
          name: hostname(),
          secure: security === 'tls',
          requireTLS: security === 'starttls',
          ignoreTLS: security === 'none',
          tls: {
            servername: host,
            minVersion: 'TLSv1.2',
            ...(trust !== undefined && 'ca' in trust ? { ca: [...trust.ca] } : {}),
          },
          ...(login === null || password === null ? {} : { auth: { user: login, pass: password } }),
          disableFileAccess: true,
          disableUrlAccess: true,
        });
        const { response } = await transport.sendMail(mailOf(message, spec));
        return oneLine(response, 200);
      } catch (error) {
        ended.throwIfAborted();
        if (error instanceof AppError) throw error;
        throw mailError(error, label, password === null ? [] : [password]);
      } finally {
        cancel();
        ended.removeEventListener('abort', cut);
        cut();
      }
    },
    close: () => Promise.resolve(),
  };
}

/** The same id when the same is sent again, so that a mailbox may know it. */
function mailOf(message: NotifyMessage, { from, to }: MailSpec): object {
  const mark =
    message.kind === 'test' ? 'test' : message.entries.some(({ told }) => told === 'DOWN') ? 'DOWN' : null;
  return {
    from,
    to: [...to],
    subject: oneLine(`[holdfast${mark === null ? '' : ` ${mark}`}] ${message.title}`, subjectMax),
    messageId: `<${message.id}@${from.slice(from.indexOf('@') + 1)}>`,
    date: new Date(message.atMs),
    text: mailText(message),
    headers: {
      'Auto-Submitted': 'auto-generated',
      'X-Holdfast-Delivery': message.id,
    },
  };
}

/** What a person reads: the line of the subject in full, each event, and why this came. */
export function mailText(message: NotifyMessage): string {
  const { title, rule, sink } = message;
  const lines = messageLines(message);
  const why =
    rule === null ? `Sent to the sink "${sink}".` : `Sent to the sink "${sink}" by the rule "${rule}".`;
  return `${[title, '', ...lines, ...(lines.length === 0 ? [] : ['']), '-- ', why].join('\n')}\n`;
}

/** RFC 5321 §4.2.1: 4yz may pass, 5yz does not. */
function mailError(error: unknown, label: string, secrets: readonly string[]): AppError {
  const {
    code = '',
    responseCode,
    response,
    message,
  } = error as {
    code?: string;
    responseCode?: number;
    response?: string;
    message: string;
  };
  const said = shownText(response ?? message, secrets);
  return new AppError(verdictOf(code, responseCode), `${label} did not take the mail: ${said}`, {
    cause: error,
  });
}

function verdictOf(code: string, status: number | undefined): ErrorCode {
  if (code === 'EAUTH') return status !== undefined && status < 500 ? 'unavailable' : 'forbidden';
  if (status === undefined || status < 500) return 'unavailable';
  return code === 'EENVELOPE' || code === 'EMESSAGE' ? 'unprocessable' : 'internal';
}
