import { expect, test } from '@jest/globals';
import { schemasOfKubernetes, schemasOfResource } from './json-schemas.js';

test('of an API each kind has a file with what it refers to, and its objects are closed', () => {
  const podSpec = { properties: { port: { type: 'string', format: 'int-or-string' } } };
  const pod = {
    type: 'object',
    properties: {
      spec: { $ref: '#/definitions/PodSpec' },
      labels: { additionalProperties: { type: 'string' } },
    },
    'x-kubernetes-group-version-kind': [{ group: '', version: 'v1', kind: 'Pod' }],
  };
  const options = {
    'x-kubernetes-group-version-kind': [
      { group: '', version: 'v1', kind: 'DeleteOptions' },
      { group: 'apps', version: 'v1', kind: 'DeleteOptions' },
    ],
  };
  const definitions = { Pod: pod, PodSpec: podSpec, Unused: {}, DeleteOptions: options };
  expect(schemasOfKubernetes({ definitions })).toEqual([
    {
      path: 'v1/pod_v1.json',
      schema: {
        $ref: '#/definitions/Pod',
        definitions: {
          Pod: { ...pod, additionalProperties: false },
          PodSpec: {
            properties: { port: { type: ['string', 'integer'] } },
            additionalProperties: false,
          },
        },
      },
    },
  ]);
});

test('of a definition of a resource each version has a file; what keeps unknown fields stays open', () => {
  const openAPIV3Schema = {
    properties: {
      metadata: { type: 'object' },
      spec: {
        properties: { any: { properties: {}, 'x-kubernetes-preserve-unknown-fields': true } },
        anyOf: [{ properties: { any: {} } }],
      },
    },
  };
  const spec = {
    group: 'keda.sh',
    names: { kind: 'ScaledObject' },
    versions: [{ name: 'v1alpha1', schema: { openAPIV3Schema } }, { name: 'v0' }],
  };
  expect(schemasOfResource({ spec })).toEqual([
    {
      path: 'keda.sh/scaledobject_v1alpha1.json',
      schema: {
        properties: {
          metadata: { type: 'object' },
          spec: { ...openAPIV3Schema.properties.spec, additionalProperties: false },
        },
        additionalProperties: false,
      },
    },
  ]);
});
