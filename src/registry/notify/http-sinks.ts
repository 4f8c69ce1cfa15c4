/** Sinks that are told over HTTP: webhooks, Slack, Alertmanager. What is secret is read anew for each delivery. */
import { createHmac } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createEgress, type Egress } from '../../client/egress.ts';
import { isLoopback } from '../../client/proxy.ts';
import { certificatesIn, type TlsTrust } from '../../client/tls.ts';
import { type Alert, alertDocument } from '../../domain/alert.ts';
import { AppError } from '../../domain/error.ts';
import { messageDocument, messageLines, type NotifyMessage } from '../../domain/notify-batch.ts';
import type { AlertmanagerSpec, SlackSpec, WebhookSpec } from '../../domain/sinks.ts';
import { sinkTarget } from '../../domain/sinks.ts';
import { readSecret, type Sender, type SenderSurroundings, takenOr, tellAgainMs } from './sender.ts';

/** Longer than this Slack cuts a message itself. */
const slackTextMax = 3_500;
/** Alerts of one request. */
const alertsAtOnceMax = 200;
/** Of what is told again, as Prometheus has it. */
const alertKeptMs = 4 * tellAgainMs;

/**
 * POST of the message as JSON. `X-Holdfast-Delivery` is the same when the same is sent again;
 * `X-Holdfast-Signature: sha256=…` is the HMAC of `<X-Holdfast-Timestamp>.<body>`.
 */
export function createWebhook(spec: WebhookSpec, { clock, proxy }: SenderSurroundings): Sender {
  const line = new Line(spec, { clock, proxy });
  return {
    async deliver(message, { signal }) {
      const body = JSON.stringify(messageDocument(message));
      const timestamp = String(Math.floor(clock.now() / 1_000));
      const secret = spec.secretFile === null ? null : await readSecret(spec.secretFile);
      const headers = {
        'x-holdfast-delivery': message.id,
        'x-holdfast-timestamp': timestamp,
        ...(secret === null
          ? {}
          : { 'x-holdfast-signature': `sha256=${sign(secret, `${timestamp}.${body}`)}` }),
      };
      return line.post(
        spec.url,
        { body, headers, secrets: [...pathsOf(spec.url), ...(secret === null ? [] : [secret])] },
        signal,
      );
    },
    close: () => line.close(),
  };
}

/** What of a URL may be a secret. */
function pathsOf(url: string): string[] {
  const { href, pathname, search } = new URL(url);
  return [href, pathname, search];
}

/** What whoever gets a webhook compares with. */
export function sign(secret: string, text: string): string {
  return createHmac('sha256', secret).update(text).digest('hex');
}

/** An incoming webhook of Slack, or of what speaks like it. */
export function createSlack(spec: SlackSpec, { clock, proxy }: SenderSurroundings): Sender {
  const line = new Line({ ...spec, tokenFile: null, caFile: null }, { clock, proxy });
  return {
    async deliver(message, { signal }) {
      const url = requireSlackUrl(await readSecret(spec.urlFile), spec.urlFile);
      const body = JSON.stringify({ text: slackText(message) });
      return line.post(url.href, { body, headers: {}, secrets: pathsOf(url.href) }, signal);
    },
    close: () => line.close(),
  };
}

/** Bold title and a line for each event. Of Slack's own signs none works that came from a host. */
export function slackText(message: NotifyMessage): string {
  const { kind, entries, more, title } = message;
  const mark = kind === 'test' ? '' : entries.some(({ told }) => told === 'DOWN') ? ':red_circle: ' : '';
  // Of one event the title is the line already.
  const lines = entries.length + more <= 1 ? [] : messageLines({ ...message, more: 0 });
  const shown: string[] = [];
  let length = 0;
  for (const line of lines) {
    length += line.length + 3;
    if (length > slackTextMax) break;
    shown.push(`• ${escaped(line)}`);
  }
  const left = lines.length - shown.length + more;
  return [`${mark}*${escaped(title)}*`, ...shown, ...(left === 0 ? [] : [`and ${left} more`])].join('\n');
}

/** As Slack asks for it: these three, and nothing else. A star would end what is bold. */
function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('*', '∗');
}

function requireSlackUrl(text: string, file: string): URL {
  const url = URL.parse(text);
  if (url !== null && (url.protocol === 'https:' || (url.protocol === 'http:' && isLoopback(url.hostname))))
    return url;
  throw new AppError(
    'forbidden',
    `Cannot use what ${file} holds: expected the https URL of an incoming webhook`,
  );
}

/** Version 2 of its API. Each event that says DOWN fires an alert, and what says that it is over resolves it. */
export function createAlertmanager(spec: AlertmanagerSpec, { clock, proxy }: SenderSurroundings): Sender {
  const line = new Line(spec, { clock, proxy });
  const send = async (alerts: readonly Alert[], signal: AbortSignal) => {
    let said = '200';
    for (let at = 0; at < alerts.length; at += alertsAtOnceMax) {
      const options = { nowMs: clock.now(), keptMs: alertKeptMs };
      const body = JSON.stringify(
        alerts.slice(at, at + alertsAtOnceMax).map((alert) => alertDocument(alert, options)),
      );
      said = await line.post(
        `${spec.url}/api/v2/alerts`,
        { body, headers: {}, secrets: pathsOf(spec.url) },
        signal,
      );
    }
    return said;
  };
  return {
    deliver(message, { signal }) {
      return send(alertsOf(message, spec), signal);
    },
    async tellAgain(alerts, { signal }) {
      await send(alerts, signal);
    },
    close: () => line.close(),
  };
}

/** What no event stands behind is an alert that ends by itself. */
function alertsOf(
  { kind, sink, title, atMs, entries }: NotifyMessage,
  { labels }: AlertmanagerSpec,
): Alert[] {
  if (kind === 'events') return latestOf(entries.flatMap(({ alert }) => alert ?? []));
  const alertname = kind === 'test' ? 'HoldfastTest' : 'HoldfastMissed';
  return [
    {
      labels: { ...labels, alertname, sink },
      summary: title,
      startsAtMs: atMs,
      endsAtMs: atMs + alertKeptMs,
    },
  ];
}

/** Of each alert the last word: in one request the order says nothing. */
function latestOf(alerts: readonly Alert[]): Alert[] {
  return [...new Map(alerts.map((alert) => [JSON.stringify(alert.labels), alert])).values()];
}

interface Outgoing {
  readonly body: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly secrets: readonly string[];
}

/** One connection to one origin, made anew when the CA or the URL are others. */
class Line {
  readonly #spec: Pick<WebhookSpec, 'tokenFile' | 'caFile' | 'timeoutMs'> &
    (WebhookSpec | SlackSpec | AlertmanagerSpec);
  readonly #surroundings: Pick<SenderSurroundings, 'clock' | 'proxy'>;
  #egress: { readonly key: string; readonly egress: Egress } | null = null;

  constructor(
    spec: Pick<WebhookSpec, 'tokenFile' | 'caFile' | 'timeoutMs'> &
      (WebhookSpec | SlackSpec | AlertmanagerSpec),
    surroundings: Pick<SenderSurroundings, 'clock' | 'proxy'>,
  ) {
    this.#spec = spec;
    this.#surroundings = surroundings;
  }

  async post(url: string, { body, headers, secrets }: Outgoing, signal: AbortSignal): Promise<string> {
    const { tokenFile } = this.#spec;
    const token = tokenFile === null ? null : await readSecret(tokenFile);
    const egress = await this.#egressTo(url);
    const label = this.#label();
    const answer = await egress.post(
      { body, headers: { ...headers, ...(token === null ? {} : { authorization: `Bearer ${token}` }) } },
      { signal },
    );
    return takenOr(answer, label, [...secrets, ...(token === null ? [] : [token])]);
  }

  async close(): Promise<void> {
    await this.#egress?.egress.close();
    this.#egress = null;
  }

  #label(): string {
    return this.#spec.kind === 'slack' ? 'Slack' : sinkTarget(this.#spec);
  }

  async #egressTo(url: string): Promise<Egress> {
    const { caFile, timeoutMs } = this.#spec;
    const tls = caFile === null ? undefined : await readTrust(caFile);
    const key = JSON.stringify([url, tls]);
    if (this.#egress?.key === key) return this.#egress.egress;
    await this.#egress?.egress.close();
    const { clock, proxy } = this.#surroundings;
    const egress = createEgress({
      ...{ url, proxy, clock, timeoutMs },
      label: this.#label(),
      ...(tls === undefined ? {} : { tls }),
    });
    this.#egress = { key, egress };
    return egress;
  }
}

/** The certificates of a file. `forbidden` naming it when there is none. */
export async function readTrust(file: string): Promise<TlsTrust> {
  const pem = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    throw new AppError('forbidden', `Cannot read ${file}: ${error.code ?? error.message}`, { cause: error });
  });
  const ca = certificatesIn(pem);
  if (ca.length > 0) return { ca };
  throw new AppError('forbidden', `Cannot use ${file}: expected certificates in PEM form`);
}
