/** Doctor reports on the wire. */
import { type Static, Type } from 'typebox';
import { limits } from '../base/limits.ts';
import { formatInstant } from '../base/time.ts';
import { type DoctorReport, type DoctorSummary, doctorWires } from '../domain/doctor.ts';
import { Count, Instant, nullable, pageQuery, readInstant, strictObject, words } from './schema.ts';

const summary = {
  id: Type.String(),
  wire: words(doctorWires, { description: 'Which wire format it came in' }),
  host: nullable(Type.String({ description: 'Which host it is of, by its name then' })),
  sender: Type.String({ description: 'Who sent it' }),
  at: Instant,
  bytes: Count,
  comment: nullable(Type.String()),
};

export const DoctorSummarySchema = strictObject(summary, {
  description: 'A doctor report without what it says',
});
export type DoctorSummaryDocument = Static<typeof DoctorSummarySchema>;

export const DoctorReportSchema = strictObject(
  { ...summary, report: Type.Unknown() },
  { description: 'What a host told of itself' },
);
export type DoctorReportDocument = Static<typeof DoctorReportSchema>;

export const DoctorBody = strictObject({
  host: Type.Optional(
    nullable(
      Type.String({ maxLength: limits.nameLengthMax, description: "A host's own name, whatever it says" }),
    ),
  ),
  comment: Type.Optional(nullable(Type.String())),
  report: Type.Record(Type.String(), Type.Unknown(), { description: 'Kept as it is' }),
});

/** The report, and a comment whose every character is escaped. */
export const doctorBodyBytes = limits.doctorReportBytes + 6 * limits.doctorCommentBytes + 1_024;

export const DoctorPageQuery = strictObject({ ...pageQuery });

export function doctorSummaryDocument(summary: DoctorSummary): DoctorSummaryDocument {
  const { id, wire, host, sender, atMs, bytes, comment } = summary;
  return { id, wire, host, sender, at: formatInstant(atMs), bytes, comment };
}

export function doctorReportDocument(report: DoctorReport): DoctorReportDocument {
  return { ...doctorSummaryDocument(report), report: report.body };
}

export function readDoctorSummary({ at, ...same }: DoctorSummaryDocument): DoctorSummary {
  return { ...same, atMs: readInstant(at, 'at') };
}

export function readDoctorReport({ report, ...summary }: DoctorReportDocument): DoctorReport {
  return { ...readDoctorSummary(summary), body: report };
}
