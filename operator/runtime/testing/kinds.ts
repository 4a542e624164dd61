// Kinds for the runtime's own tests.

import type { CacheOptions, Parsed, Stored } from "../cache.ts";
import { isRecord, type KubeObject, type Manifest } from "../object.ts";
import { type Resource, resource } from "../resource.ts";

export const widgets = resource("example.dev", "v1", "Widget", "widgets");
export const configMaps = resource("", "v1", "ConfigMap", "configmaps");

export interface Widget extends Stored {
  readonly size: number;
}

export const parseWidget = ({ metadata, spec }: KubeObject): Parsed<Widget> =>
  isRecord(spec) && typeof spec.size === "number"
    ? { ok: true, value: { metadata, size: spec.size } }
    : { ok: false, problem: "spec.size is not a number" };

export const widgetCache: CacheOptions<Widget> = { resource: widgets, parse: parseWidget };

export const widget = (
  name: string,
  size: unknown = 1,
  metadata: Readonly<Record<string, unknown>> = {},
): Manifest => ({
  apiVersion: "example.dev/v1",
  kind: "Widget",
  metadata: { name, namespace: "test", ...metadata },
  spec: { size },
});

/** A widget as a server would send it. */
export const storedWidget = (
  name: string,
  version: number,
  extra: { uid?: string; size?: unknown; metadata?: Readonly<Record<string, unknown>> } = {},
): KubeObject => ({
  apiVersion: "example.dev/v1",
  kind: "Widget",
  metadata: {
    name,
    namespace: "test",
    uid: extra.uid ?? `uid-${name}`,
    resourceVersion: String(version),
    ...extra.metadata,
  },
  spec: { size: extra.size ?? 1 },
});

export const all: readonly Resource[] = [widgets, configMaps];
