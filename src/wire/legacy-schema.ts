/** What `/swagger.json` says of the bodies of workflow-manager-api: names as they are written, whatever is read. */
import { Type } from 'typebox';

const Text = Type.String();
const When = Type.String({ format: 'date-time' });

export const LegacyError = Type.Object({ code: Type.Integer(), message: Text });

const LegacyComponent = Type.Object({
  name: Type.String({ minLength: 1 }),
  description: Type.Optional(Text),
  type: Type.Optional(Text),
});

export const LegacyComponentVersion = Type.Object({
  component: Type.Optional(LegacyComponent),
  version: Type.Optional(
    Type.Object({
      train: Type.Optional(Text),
      version: Type.Optional(Text),
      released: Type.Optional(Text),
      data: Type.Optional(
        Type.Object(
          { description: Type.Optional(Text), fixes: Type.Optional(Text), image: Type.Optional(Text) },
          { additionalProperties: true },
        ),
      ),
    }),
  ),
  updateAvailable: Type.Optional(Text),
});

export const LegacyVersions = Type.Object({ data: Type.Array(LegacyComponentVersion) });

export const LegacyCluster = Type.Object({
  id: Type.String({ minLength: 1 }),
  components: Type.Array(LegacyComponentVersion),
  firstSeen: Type.Optional(When),
  lastSeen: Type.Optional(When),
});

export const LegacyClusters = Type.Object({ data: Type.Array(LegacyCluster) });

export const LegacyClustersCount = Type.Object({
  count: Type.Integer(),
  data: Type.Array(
    Type.Object({
      clusterID: Text,
      firstSeen: When,
      lastSeen: When,
      clusterAge: Text,
      checkins: Type.Integer(),
      lastCheckin: Type.Optional(Text),
    }),
  ),
});

export const LegacyReport = Type.Object({
  workflow: Type.Object({}, { additionalProperties: true }),
  nodes: Type.Optional(Type.Array(Type.Object({}))),
  namespaces: Type.Optional(Type.Array(Type.Object({}))),
});

/** Bounds of a query, all of which may be left out. */
export function legacyBounds<const Names extends readonly string[]>(names: Names) {
  return Type.Object(Object.fromEntries(names.map((name) => [name, Type.Optional(When)])));
}
