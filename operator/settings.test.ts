import { expect, test } from "vitest";
import { type Installation, operatorArguments } from "./manifests.ts";
import { parseSettings } from "./settings.ts";

const required = ["--trainer-image=registry.test/trainer:1", "--progress-host=operator.test"];

test("what an installation says is what the operator reads", () => {
  const installation: Installation = {
    namespace: "deeptrain-system",
    operatorImage: "registry.test/operator:1",
    trainerImage: "registry.test/trainer:1",
    store: { size: "20Gi", accessMode: "ReadWriteOnce", storageClassName: "fast" },
    importMemory: "8Gi",
    denyPrivateSources: true,
  };
  const { operatorImage: _, ...said } = installation;
  expect(parseSettings(operatorArguments(installation))).toMatchObject(said);
});

test("what is left out is the default", () => {
  expect(parseSettings(required)).toMatchObject({
    importMemory: "2Gi",
    store: { size: "100Gi", accessMode: "ReadWriteMany" },
    denyPrivateSources: false,
  });
});

test.each([
  ["--import-memory=2G", "a quantity such as 2Gi"],
  ["--import-memory=2048", "a quantity such as 2Gi"],
  ["--import-memory=511Mi", "at least 512Mi"],
  ["--store-size=large", "a quantity such as 100Gi"],
  ["--store-access-mode=ReadOnlyMany", "--store-access-mode"],
  ["--progress-port=0", "--progress-port"],
])("%s is refused by its name", (argument, want) => {
  expect(() => parseSettings([...required, argument])).toThrow(want);
});
