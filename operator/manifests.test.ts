import { describe, expect, test } from "vitest";
import { installObjects, parseInstallation } from "./manifests.ts";

const images = ["--operator-image=o", "--trainer-image=t"];

describe("the command line of the manifests", () => {
  test("fills in what is not said", () => {
    expect(parseInstallation(images)).toEqual({
      namespace: "deeptrain-system",
      operatorImage: "o",
      trainerImage: "t",
      store: { size: "100Gi", accessMode: "ReadWriteMany" },
      denyPrivateSources: false,
    });
  });

  test.each([
    [[], "--operator-image"],
    [[...images, "--store-size=many"], "--store-size"],
    [[...images, "--store-access-mode=Once"], "--store-access-mode"],
    [[...images, "--import-memory=1Ki"], "--import-memory"],
    [[...images, "--size=1Gi"], "--size"],
  ])("refuses %j and names the option", (args, option) => {
    expect(() => parseInstallation(args)).toThrow(option);
  });

  test("reaches the operator's own command line", () => {
    const installation = parseInstallation([...images, "--import-memory=4Gi", "--namespace=ops"]);
    const deployment = installObjects(installation).find(({ kind }) => kind === "Deployment");
    expect(JSON.stringify(deployment)).toContain("--import-memory=4Gi");
    expect(deployment?.metadata.namespace).toBe("ops");
  });
});
