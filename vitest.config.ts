// Three projects: `unit` needs nothing, `contract` a real API server, `e2e` a real node with images.

import { defineConfig } from "vitest/config";

const exclude = ["**/node_modules/**", "**/dist/**"];

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: "unit",
          include: ["**/*.test.ts"],
          exclude: [...exclude, "**/*.contract.test.ts", "**/*.e2e.test.ts"],
          testTimeout: 60_000,
          hookTimeout: 60_000,
          // Many wait more than they work.
          maxWorkers: 3,
        },
      },
      {
        test: {
          name: "contract",
          include: ["**/*.contract.test.ts"],
          exclude,
          testTimeout: 120_000,
          hookTimeout: 900_000,
          // Each file starts a control plane of its own: two at a time fit into two cores.
          maxWorkers: 2,
        },
      },
      {
        test: {
          name: "e2e",
          include: ["**/*.e2e.test.ts"],
          exclude,
          testTimeout: 600_000,
          hookTimeout: 1_800_000,
          globalSetup: "cluster/testclusters.ts",
          // One node: files in turn, in one process, so that they share a cluster (test/e2e/environment.ts).
          isolate: false,
          maxWorkers: 1,
          fileParallelism: false,
        },
      },
    ],
  },
});
