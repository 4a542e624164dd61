// A Pod that serves the demo's photos inside the cluster, and its Service.

import type { Manifest } from "../operator/runtime/object.ts";

export const PHOTO_SERVER = "fashion-mnist-photos";

export const hardened = {
  runAsNonRoot: true,
  runAsUser: 65532,
  runAsGroup: 65532,
  seccompProfile: { type: "RuntimeDefault" },
};
export const confined = {
  allowPrivilegeEscalation: false,
  readOnlyRootFilesystem: true,
  capabilities: { drop: ["ALL"] },
};

export function photoServer(image: string): Manifest[] {
  const labels = { app: PHOTO_SERVER };
  return [
    {
      apiVersion: "v1",
      kind: "Service",
      metadata: { name: PHOTO_SERVER },
      spec: { selector: labels, ports: [{ port: 80, targetPort: 8080 }] },
    },
    {
      apiVersion: "apps/v1",
      kind: "Deployment",
      metadata: { name: PHOTO_SERVER },
      spec: {
        replicas: 1,
        selector: { matchLabels: labels },
        template: {
          metadata: { labels },
          spec: {
            automountServiceAccountToken: false,
            securityContext: hardened,
            containers: [
              {
                name: "server",
                image,
                command: ["python3", "-m", "http.server", "8080", "--directory", "/photos"],
                ports: [{ containerPort: 8080 }],
                readinessProbe: { httpGet: { path: "/", port: 8080 }, periodSeconds: 1 },
                securityContext: confined,
              },
            ],
          },
        },
      },
    },
  ];
}
