/** What conformance tests say again and again about service records. */
import type { HttpAnswer } from './http.ts';

/** Uuids of seed 002: without dashes as it writes them, and as we answer them. */
export const conductor = {
  bare: '3b059e33bbc44bc8b0d37df6e8d70223',
  uuid: '3b059e33-bbc4-4bc8-b0d3-7df6e8d70223',
};
export const compute = {
  bare: 'de541c29ec5449e9ab9cea9d938e395c',
  uuid: 'de541c29-ec54-49e9-ab9c-ea9d938e395c',
};
export const nobody = '00000000-0000-4000-8000-000000000001';

/** Numbered uuids that nothing else uses. */
export function uuidNo(number: number): string {
  return `11111111-2222-4333-8444-${String(number).padStart(12, '0')}`;
}

/** Exactly the members of FORMATS, in any order. */
export const recordMembers =
  'confirmed heldBy host lastSeen maintenance reason region status ttl type uuid version';
export const isUpMembers = 'ageMs asOf confirmed known maintenance reason stale up';
export const listMembers = 'asOf items next position stale';

export function members(document: object): string {
  return Object.keys(document).sort().join(' ');
}

/** `409 conflict`; `200` for what is no problem. */
export function outcome({ status, json }: HttpAnswer): string {
  return json?.code === undefined
    ? String(status)
    : `${status} ${json.code}${json.field === undefined ? '' : ` ${json.field}`}`;
}
