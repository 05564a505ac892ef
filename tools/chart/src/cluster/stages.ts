/** How kwok plays nodes and pods: what becomes of each, in its notation (kwok.x-k8s.io/v1alpha1, Stage). */
import { stringify } from 'yaml';

interface Requirement {
  key: string;
  operator: 'In' | 'NotIn' | 'Exists' | 'DoesNotExist';
  values?: string[];
}

function stage(name: string, kind: 'Node' | 'Pod', when: Requirement[], next: object): object {
  return {
    apiVersion: 'kwok.x-k8s.io/v1alpha1',
    kind: 'Stage',
    metadata: { name },
    spec: { resourceRef: { apiGroup: 'v1', kind }, selector: { matchExpressions: when }, next },
  };
}

const isKept: Requirement = { key: '.metadata.deletionTimestamp', operator: 'DoesNotExist' };

const node = `
{{ $now := Now }}
conditions:
- {type: Ready, status: "True", reason: KubeletReady, message: played, lastHeartbeatTime: {{ $now | Quote }}, lastTransitionTime: {{ $now | Quote }}}
addresses:
- {type: InternalIP, address: 127.0.0.1}
allocatable: {cpu: "32", memory: 256Gi, pods: "110"}
capacity: {cpu: "32", memory: 256Gi, pods: "110"}
phase: Running
`;

const ready = `
{{ $now := Now }}
conditions:
- {type: Initialized, status: "True", lastTransitionTime: {{ $now | Quote }}}
- {type: Ready, status: "True", lastTransitionTime: {{ $now | Quote }}}
- {type: ContainersReady, status: "True", lastTransitionTime: {{ $now | Quote }}}
containerStatuses:
{{ range .spec.containers }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  ready: true
  started: true
  restartCount: 0
  state: {running: {startedAt: {{ $now | Quote }}}}
{{ end }}
hostIP: {{ NodeIPWith .spec.nodeName | Quote }}
podIP: {{ PodIPWith .spec.nodeName false .metadata.uid .metadata.name .metadata.namespace | Quote }}
phase: Running
startTime: {{ $now | Quote }}
`;

const done = `
{{ $now := Now }}
conditions:
- {type: Ready, status: "False", reason: PodCompleted, lastTransitionTime: {{ $now | Quote }}}
containerStatuses:
{{ range .spec.containers }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  ready: false
  started: false
  restartCount: 0
  state: {terminated: {exitCode: 0, reason: Completed, startedAt: {{ $now | Quote }}, finishedAt: {{ $now | Quote }}}}
{{ end }}
phase: Succeeded
`;

export const playStages = [
  stage(
    'node-initialize',
    'Node',
    [
      {
        key: '.status.conditions.[] | select( .type == "Ready" ) | .status',
        operator: 'NotIn',
        values: ['True'],
      },
    ],
    { statusTemplate: node },
  ),
  stage('pod-ready', 'Pod', [isKept, { key: '.status.podIP', operator: 'DoesNotExist' }], {
    statusTemplate: ready,
  }),
  stage(
    'pod-complete',
    'Pod',
    [
      isKept,
      { key: '.status.phase', operator: 'In', values: ['Running'] },
      { key: '.metadata.ownerReferences.[].kind', operator: 'In', values: ['Job'] },
    ],
    { statusTemplate: done },
  ),
  stage('pod-delete', 'Pod', [{ key: '.metadata.deletionTimestamp', operator: 'Exists' }], {
    finalizers: { empty: true },
    delete: true,
  }),
]
  .map((one) => stringify(one))
  .join('---\n');
