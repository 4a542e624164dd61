// What Argo CD says of every state of a DeepModel, with our health script, run as Argo CD runs it.

import { spawn } from "node:child_process";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { planDeepModel } from "../../operator/plan/deepmodel.ts";
import { deepModelStates } from "../../operator/plan/testing/deepmodelstates.ts";
import { model } from "../../operator/plan/testing/gen.ts";

const root = join(import.meta.dirname, "../..");
const Health = z.object({ status: z.string(), message: z.string() });

/** Health of each object, in their order. */
const healthOf = async (objects: readonly unknown[]) => {
  const script = join(root, "examples/gitops/argocd-health.lua");
  const go = spawn("go", ["run", "-mod=readonly", ".", script], {
    cwd: join(import.meta.dirname, "argohealth"),
    env: { ...process.env, CGO_ENABLED: "0" },
  });
  go.stdin.end(JSON.stringify(objects));
  const [out, problems] = await Promise.all([text(go.stdout), text(go.stderr)]);
  if (out === "") throw new Error(problems);
  return Health.array().parse(JSON.parse(out));
};

describe("Argo CD's health", () => {
  const untouched = model();
  const outdated = { ...untouched, status: { observedGeneration: 0, conditions: [] } };
  const objects = [
    ...deepModelStates.map(({ world }) => ({
      ...world.model,
      status: planDeepModel(world).status,
    })),
    untouched,
    outdated,
    { ...untouched, status: undefined },
  ];
  let seen: Awaited<ReturnType<typeof healthOf>>;

  beforeAll(async () => {
    seen = await healthOf(objects);
  });

  test.each(deepModelStates.map(({ name, argo }, index) => ({ name, argo, index })))(
    "$name: $argo",
    ({ argo, index }) => {
      expect(seen[index]?.status).toBe(argo);
      expect(seen[index]?.message).not.toBe("");
    },
  );

  test("not seen by the operator yet: progressing", () => {
    expect(seen.slice(deepModelStates.length).map(({ status }) => status)).toEqual([
      "Progressing",
      "Progressing",
      "Progressing",
    ]);
  });
});
