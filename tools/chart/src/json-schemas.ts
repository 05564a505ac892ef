/**
 * Schemas of Kubernetes' objects for an offline check that refuses what is not known: made of Kubernetes' own description of its API, and of the
 * definitions of the resources of others, with every object closed that names its properties. Pure.
 */

export interface Schema {
  [keyword: string]: unknown;
}

export interface SchemaFile {
  /** As kubeconform asks for it: `<group>/<kind>_<version>.json`, where the core's group is its version. */
  path: string;
  schema: Schema;
}

interface KindName {
  group: string;
  version: string;
  kind: string;
}

const kindsKey = 'x-kubernetes-group-version-kind';
const quantity = 'io.k8s.apimachinery.pkg.api.resource.Quantity';

/** Of swagger.json. */
export function schemasOfKubernetes(api: { definitions: Record<string, Schema> }): SchemaFile[] {
  const definitions = Object.fromEntries(
    Object.entries(api.definitions).map(([name, schema]) => [
      name,
      name === quantity ? { type: ['string', 'number'] } : closed(schema),
    ]),
  );
  return Object.entries(api.definitions).flatMap(([name, schema]) =>
    ((schema[kindsKey] ?? []) as KindName[])
      // Options of requests belong to every group.
      .filter(() => ((schema[kindsKey] ?? []) as KindName[]).length === 1)
      .map((kind) => ({
        path: pathOf(kind),
        schema: { $ref: `#/definitions/${name}`, definitions: reachable(name, definitions) },
      })),
  );
}

/** Of a CustomResourceDefinition. */
export function schemasOfResource(definition: {
  spec: {
    group: string;
    names: { kind: string };
    versions: { name: string; schema?: { openAPIV3Schema?: Schema } }[];
  };
}): SchemaFile[] {
  const { group, names, versions } = definition.spec;
  return versions.flatMap(({ name, schema }) =>
    schema?.openAPIV3Schema === undefined
      ? []
      : [
          {
            path: pathOf({ group, version: name, kind: names.kind }),
            schema: closed(schema.openAPIV3Schema),
          },
        ],
  );
}

function pathOf({ group, version, kind }: KindName): string {
  return `${group === '' ? version : group}/${kind.toLowerCase()}_${version}.json`;
}

function closed(value: Schema): Schema {
  const schema = Object.fromEntries(
    Object.entries(value).map(([keyword, inner]) => [keyword, closedKeyword(keyword, inner)]),
  );
  if (schema.format === 'int-or-string') {
    const { type: _, format: __, ...rest } = schema;
    return { ...rest, type: ['string', 'integer'] };
  }
  const isOpen = schema['x-kubernetes-preserve-unknown-fields'] === true;
  if (schema.properties === undefined || schema.additionalProperties !== undefined || isOpen) return schema;
  return { ...schema, additionalProperties: false };
}

function closedKeyword(keyword: string, inner: unknown): unknown {
  if (keyword === 'properties') {
    const properties = Object.entries(inner as Record<string, Schema>);
    return Object.fromEntries(properties.map(([name, schema]) => [name, closed(schema)]));
  }
  if (keyword === 'items' || keyword === 'additionalProperties') {
    return typeof inner === 'object' && inner !== null ? closed(inner as Schema) : inner;
  }
  // Combinations of rules about one object, each of which names some of its properties only, stay open.
  return inner;
}

function reachable(from: string, definitions: Record<string, Schema>): Record<string, Schema> {
  const found: Record<string, Schema> = {};
  const waiting = [from];
  for (let name = waiting.pop(); name !== undefined; name = waiting.pop()) {
    const definition = definitions[name];
    if (name in found || definition === undefined) continue;
    found[name] = definition;
    for (const [, reference] of JSON.stringify(definition).matchAll(/"#\/definitions\/([^"]+)"/g)) {
      waiting.push(reference!);
    }
  }
  return found;
}
